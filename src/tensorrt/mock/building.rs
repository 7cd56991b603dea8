//! What builders, configurations, networks, parsers and their parts do.

use std::ffi::{CString, c_char, c_void};

use super::{
    Fault, NO, Object, Public, Read, YES, c_string, memory, note, object, ports, public, public_of, text, world,
};
use crate::pack::Pack;
use crate::tensorrt::objects::{NarrowDims, WideDims};

pub(super) extern "C" fn create_network(this: *mut Object, flags: u32) -> *mut c_void {
    note(this, format!("createNetworkV2({flags})"));
    world(|w| w.parsed = None);
    public("Network")
}

pub(super) extern "C" fn create_config(this: *mut Object) -> *mut c_void {
    note(this, "createBuilderConfig()");
    public("Config")
}

pub(super) extern "C" fn create_profile(this: *mut Object) -> *mut c_void {
    note(this, "createOptimizationProfile()");
    public("Profile")
}

fn class_of(address: *mut c_void) -> &'static str {
    // SAFETY: arguments that are objects are the mock's public ones.
    unsafe { (*(*address.cast::<Public>()).implementation).class }
}

pub(super) extern "C" fn build(this: *mut Object, network: *mut c_void, config: *mut c_void) -> *mut c_void {
    note(
        this,
        format!("buildSerializedNetwork({}, {})", class_of(network), class_of(config)),
    );
    world(|w| w.timing.push(b'.'));
    match world(|w| (w.fault, w.parsed)) {
        (Fault::NoEngine, _) | (_, None) => std::ptr::null_mut(),
        (_, Some(read)) => memory(read.plan().into_bytes()),
    }
}

/// The number of the flag TF32, as the headers have it.
fn tf32() -> i32 {
    if world(|w| w.column) < 2 { 7 } else { 6 }
}

fn change_flag(flag: i32, on: bool) {
    let tf32 = tf32();
    world(|w| {
        if w.fault == Fault::NoFlags {
            return;
        }
        if flag == tf32 {
            w.tf32 = on;
        }
        w.flags.retain(|f| *f != flag);
        if on {
            w.flags.push(flag);
        }
    });
}

pub(super) extern "C" fn set_flag(this: *mut Object, flag: i32) {
    note(this, format!("setFlag({flag})"));
    change_flag(flag, true);
}

pub(super) extern "C" fn clear_flag(this: *mut Object, flag: i32) {
    note(this, format!("clearFlag({flag})"));
    change_flag(flag, false);
}

pub(super) extern "C" fn get_flag(_this: *mut Object, flag: i32) -> usize {
    let set = if flag == tf32() {
        world(|w| w.tf32)
    } else {
        world(|w| w.flags.contains(&flag))
    };
    if set { YES } else { NO }
}

pub(super) extern "C" fn add_profile(this: *mut Object, profile: *mut c_void) -> i32 {
    note(this, format!("addOptimizationProfile({})", class_of(profile)));
    0
}

pub(super) extern "C" fn set_tactic_sources(this: *mut Object, mask: u32) -> usize {
    note(this, format!("setTacticSources({mask:#x})"));
    YES
}

pub(super) extern "C" fn create_timing_cache(this: *mut Object, data: *const u8, size: usize) -> *mut c_void {
    note(this, format!("createTimingCache({size})"));
    assert_eq!(data.is_null(), size == 0);
    if size > 0 {
        // SAFETY: that many bytes are the caller's.
        world(|w| w.timing = unsafe { std::slice::from_raw_parts(data, size) }.to_vec());
    }
    public("Cache")
}

pub(super) extern "C" fn set_timing_cache(this: *mut Object, cache: *mut c_void, ignore: u8) -> usize {
    note(this, format!("setTimingCache({}, {ignore})", class_of(cache)));
    let refuses = world(|w| w.fault == Fault::RefusesTimingCache && !w.timing.is_empty());
    world(|w| w.timing.truncate(if refuses { 0 } else { usize::MAX }));
    if refuses { NO } else { YES }
}

pub(super) extern "C" fn get_timing_cache(this: *mut Object) -> *mut c_void {
    note(this, "getTimingCache()");
    let address = public("Cache");
    // It is the configuration's own.
    world(|w| *w.live.entry("Cache").or_default() -= 1);
    address
}

pub(super) extern "C" fn cache_serialize(_this: *mut Object) -> *mut c_void {
    memory(world(|w| w.timing.clone()))
}

fn network_ports(input: bool) -> Vec<(&'static str, usize, bool)> {
    let read = world(|w| w.parsed);
    read.map_or_else(Vec::new, |r| {
        ports(r.which).into_iter().filter(|p| p.2 == input).collect()
    })
}

pub(super) extern "C" fn network_inputs(_this: *mut Object) -> i32 {
    if world(|w| w.fault) == Fault::NetworkNotEmpty {
        7
    } else {
        network_ports(true).len() as i32
    }
}

pub(super) extern "C" fn network_outputs(_this: *mut Object) -> i32 {
    network_ports(false).len() as i32
}

fn tensor((name, channels, input): (&str, usize, bool)) -> *mut c_void {
    let mut tensor = object("Tensor");
    tensor.port = Some((CString::new(name).unwrap(), channels, input));
    public_of(tensor)
}

pub(super) extern "C" fn network_input(_this: *mut Object, index: i32) -> *mut c_void {
    tensor(network_ports(true)[index as usize])
}

pub(super) extern "C" fn network_output(_this: *mut Object, index: i32) -> *mut c_void {
    tensor(network_ports(false)[index as usize])
}

fn port(this: *mut Object) -> &'static (CString, usize, bool) {
    // SAFETY: a tensor of the mock, which is never deleted.
    unsafe { (*this).port.as_ref().unwrap() }
}

pub(super) extern "C" fn tensor_name(this: *mut Object) -> *const c_char {
    port(this).0.as_ptr()
}

fn tensor_dims(this: *mut Object) -> [i64; 8] {
    let (name, channels, _) = port(this);
    let side = if name.as_c_str() == c"ratio" { 1 } else { -1 };
    [1, *channels as i64, side, side, 0, 0, 0, 0]
}

pub(super) extern "C" fn tensor_dims_narrow(this: *mut Object) -> NarrowDims {
    NarrowDims {
        count: 4,
        d: tensor_dims(this).map(|v| v as i32),
    }
}

pub(super) extern "C" fn tensor_dims_wide(this: *mut Object) -> WideDims {
    WideDims {
        count: 4,
        d: tensor_dims(this),
    }
}

pub(super) extern "C" fn set_allowed_formats(this: *mut Object, mask: u32) {
    note(
        this,
        format!("setAllowedFormats({}, {mask})", port(this).0.to_string_lossy()),
    );
}

pub(super) extern "C" fn set_dimensions_narrow(
    this: *mut Object,
    name: *const c_char,
    which: i32,
    dims: NarrowDims,
) -> usize {
    note(
        this,
        format!(
            "setDimensions({}, {which}, {:?})",
            text(name),
            &dims.d[..dims.count as usize]
        ),
    );
    YES
}

pub(super) extern "C" fn set_dimensions_wide(
    this: *mut Object,
    name: *const c_char,
    which: i32,
    dims: *const WideDims,
) -> usize {
    // SAFETY: the caller's dimensions.
    let dims = unsafe { *dims };
    note(
        this,
        format!(
            "setDimensions({}, {which}, {:?})",
            text(name),
            &dims.d[..dims.count as usize]
        ),
    );
    YES
}

pub(super) extern "C" fn memory_data(this: *mut Object) -> *const u8 {
    // SAFETY: the mock's own object.
    unsafe { (*this).bytes.as_ptr() }
}

pub(super) extern "C" fn memory_size(this: *mut Object) -> usize {
    // SAFETY: the mock's own object.
    unsafe { (*this).bytes.len() }
}

pub(super) extern "C" fn parse(this: *mut Object, data: *const u8, size: usize, path: *const c_char) -> usize {
    assert!(path.is_null());
    note(this, format!("parse({size} bytes)"));
    // SAFETY: that many bytes are the caller's.
    let onnx = unsafe { std::slice::from_raw_parts(data, size) };
    let pack = Pack::open("lite").unwrap();
    let found = Read::all().find(|read| read.onnx(&pack) == onnx);
    world(|w| w.parsed = found);
    if found.is_some() || world(|w| w.fault) == Fault::TakesRubbish {
        YES
    } else {
        NO
    }
}

pub(super) extern "C" fn supports_operator(_this: *mut Object, name: *const c_char) -> usize {
    if text(name) == "Conv" { YES } else { NO }
}

pub(super) extern "C" fn destroy_parser(this: *mut Object) {
    // SAFETY: called once, by its owner.
    drop(unsafe { Box::from_raw(this) });
    world(|w| {
        *w.live.entry("Parser").or_default() -= 1;
        w.calls.push("delete Parser".into());
    });
}

pub(super) extern "C" fn get_error(this: *mut Object, index: i32) -> *mut c_void {
    note(this, format!("getError({index})"));
    Box::into_raw(object("ParserError")).cast()
}

pub(super) extern "C" fn clear_errors(this: *mut Object) {
    note(this, "clearErrors()");
}

pub(super) extern "C" fn error_code(_this: *mut Object) -> i32 {
    8
}

pub(super) extern "C" fn error_desc(_this: *mut Object) -> *const c_char {
    c_string("no such operator: Frobnicate")
}

pub(super) extern "C" fn error_file(_this: *mut Object) -> *const c_char {
    c_string("ModelImporter.cpp")
}

pub(super) extern "C" fn error_line(_this: *mut Object) -> i32 {
    77
}

pub(super) extern "C" fn error_func(_this: *mut Object) -> *const c_char {
    std::ptr::null()
}

pub(super) extern "C" fn error_node(_this: *mut Object) -> i32 {
    3
}
