//! What builders, configurations, networks, parsers and their parts do.

use std::ffi::{CStr, CString, c_char, c_void};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::gpu::{NarrowDims, WideDims};
use crate::pack::Pack;
use crate::testing::tensorrt::{
    Fault, NO, Object, Public, Read, YES, c_string, memory, note, object, ports, public, public_of, text, world,
};

pub(crate) extern "C" fn create_network(this: *mut Object, flags: u32) -> *mut c_void {
    note(this, format!("createNetworkV2({flags})"));
    world(|w| {
        w.parsed = None;
        w.monitor = 0;
    });
    public("Network")
}

pub(crate) extern "C" fn create_config(this: *mut Object) -> *mut c_void {
    note(this, "createBuilderConfig()");
    public("Config")
}

pub(crate) extern "C" fn create_profile(this: *mut Object) -> *mut c_void {
    note(this, "createOptimizationProfile()");
    public("Profile")
}

fn class_of(address: *mut c_void) -> &'static str {
    // SAFETY: arguments that are objects are the mock's public ones.
    unsafe { (*(*address.cast::<Public>()).implementation).class }
}

pub(crate) extern "C" fn build(this: *mut Object, network: *mut c_void, config: *mut c_void) -> *mut c_void {
    note(
        this,
        format!("buildSerializedNetwork({}, {})", class_of(network), class_of(config)),
    );
    world(|w| w.timing.push(b'.'));
    if world(|w| w.fault) == Fault::SlowBuild && !takes_long() {
        note(this, "a build is stopped");
        return std::ptr::null_mut();
    }
    match world(|w| (w.fault, w.parsed)) {
        (Fault::NoEngine, _) | (_, None) => std::ptr::null_mut(),
        (_, Some(read)) => memory(read.plan().into_bytes()),
    }
}

/// Works for more than two seconds, or, with a monitor, until that stops it; whether the build is to go on.
fn takes_long() -> bool {
    type Start = extern "C" fn(*mut c_void, *const c_char, *const c_char, i32);
    type Step = extern "C" fn(*mut c_void, *const c_char, i32) -> bool;
    type Finish = extern "C" fn(*mut c_void, *const c_char);
    let monitor = world(|w| w.monitor) as *mut c_void;
    if monitor.is_null() {
        sleep(Duration::from_millis(2500));
        return true;
    }
    const STEPS: i32 = 6000;
    let phase: &CStr = c"Building Engine";
    // SAFETY: an `IProgressMonitor` that lives: four slots of `IVersionedInterface`, then phaseStart, stepComplete and
    // phaseFinish.
    unsafe {
        let table = monitor.cast::<*const *const c_void>().read();
        let start: Start = std::mem::transmute(table.add(4).read());
        let step: Step = std::mem::transmute(table.add(5).read());
        let finish: Finish = std::mem::transmute(table.add(6).read());
        start(monitor, phase.as_ptr(), std::ptr::null(), STEPS);
        let began = Instant::now();
        let goes_on = (0..STEPS).all(|n| {
            sleep(Duration::from_millis(10));
            began.elapsed() < Duration::from_secs(60) && step(monitor, phase.as_ptr(), n)
        });
        finish(monitor, phase.as_ptr());
        goes_on
    }
}

pub(crate) extern "C" fn set_progress_monitor(this: *mut Object, monitor: *mut c_void) {
    note(this, "setProgressMonitor()");
    world(|w| w.monitor = monitor as usize);
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

pub(crate) extern "C" fn set_flag(this: *mut Object, flag: i32) {
    note(this, format!("setFlag({flag})"));
    change_flag(flag, true);
}

pub(crate) extern "C" fn clear_flag(this: *mut Object, flag: i32) {
    note(this, format!("clearFlag({flag})"));
    change_flag(flag, false);
}

pub(crate) extern "C" fn get_flag(_this: *mut Object, flag: i32) -> usize {
    let set = if flag == tf32() {
        world(|w| w.tf32)
    } else {
        world(|w| w.flags.contains(&flag))
    };
    if set { YES } else { NO }
}

pub(crate) extern "C" fn add_profile(this: *mut Object, profile: *mut c_void) -> i32 {
    note(this, format!("addOptimizationProfile({})", class_of(profile)));
    0
}

pub(crate) extern "C" fn set_tactic_sources(this: *mut Object, mask: u32) -> usize {
    note(this, format!("setTacticSources({mask:#x})"));
    YES
}

pub(crate) extern "C" fn create_timing_cache(this: *mut Object, data: *const u8, size: usize) -> *mut c_void {
    note(this, format!("createTimingCache({size})"));
    assert_eq!(data.is_null(), size == 0);
    if size > 0 {
        // SAFETY: that many bytes are the caller's.
        world(|w| w.timing = unsafe { std::slice::from_raw_parts(data, size) }.to_vec());
    }
    public("Cache")
}

pub(crate) extern "C" fn set_timing_cache(this: *mut Object, cache: *mut c_void, ignore: u8) -> usize {
    note(this, format!("setTimingCache({}, {ignore})", class_of(cache)));
    let refuses = world(|w| w.fault == Fault::RefusesTimingCache && !w.timing.is_empty());
    world(|w| w.timing.truncate(if refuses { 0 } else { usize::MAX }));
    if refuses { NO } else { YES }
}

pub(crate) extern "C" fn get_timing_cache(this: *mut Object) -> *mut c_void {
    note(this, "getTimingCache()");
    let address = public("Cache");
    // It is the configuration's own.
    world(|w| *w.live.entry("Cache").or_default() -= 1);
    address
}

pub(crate) extern "C" fn cache_serialize(_this: *mut Object) -> *mut c_void {
    memory(world(|w| w.timing.clone()))
}

fn network_ports(input: bool) -> Vec<(&'static str, usize, bool)> {
    let read = world(|w| w.parsed);
    read.map_or_else(Vec::new, |r| {
        ports(r.which).into_iter().filter(|p| p.2 == input).collect()
    })
}

pub(crate) extern "C" fn network_inputs(_this: *mut Object) -> i32 {
    if world(|w| w.fault) == Fault::NetworkNotEmpty {
        7
    } else {
        network_ports(true).len() as i32
    }
}

pub(crate) extern "C" fn network_outputs(_this: *mut Object) -> i32 {
    network_ports(false).len() as i32
}

fn tensor((name, channels, input): (&str, usize, bool)) -> *mut c_void {
    let mut tensor = object("Tensor");
    tensor.port = Some((CString::new(name).unwrap(), channels, input));
    public_of(tensor)
}

pub(crate) extern "C" fn network_input(_this: *mut Object, index: i32) -> *mut c_void {
    tensor(network_ports(true)[index as usize])
}

pub(crate) extern "C" fn network_output(_this: *mut Object, index: i32) -> *mut c_void {
    tensor(network_ports(false)[index as usize])
}

fn port(this: *mut Object) -> &'static (CString, usize, bool) {
    // SAFETY: a tensor of the mock, which is never deleted.
    unsafe { (*this).port.as_ref().unwrap() }
}

pub(crate) extern "C" fn tensor_name(this: *mut Object) -> *const c_char {
    port(this).0.as_ptr()
}

fn tensor_dims(this: *mut Object) -> [i64; 8] {
    let (name, channels, _) = port(this);
    let side = if name.as_c_str() == c"ratio" { 1 } else { -1 };
    [1, *channels as i64, side, side, 0, 0, 0, 0]
}

pub(crate) extern "C" fn tensor_dims_narrow(this: *mut Object) -> NarrowDims {
    NarrowDims {
        count: 4,
        d: tensor_dims(this).map(|v| v as i32),
    }
}

pub(crate) extern "C" fn tensor_dims_wide(this: *mut Object) -> WideDims {
    WideDims {
        count: 4,
        d: tensor_dims(this),
    }
}

pub(crate) extern "C" fn set_allowed_formats(this: *mut Object, mask: u32) {
    note(
        this,
        format!("setAllowedFormats({}, {mask})", port(this).0.to_string_lossy()),
    );
}

pub(crate) extern "C" fn set_dimensions_narrow(
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

pub(crate) extern "C" fn set_dimensions_wide(
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

pub(crate) extern "C" fn memory_data(this: *mut Object) -> *const u8 {
    // SAFETY: the mock's own object.
    unsafe { (*this).bytes.as_ptr() }
}

pub(crate) extern "C" fn memory_size(this: *mut Object) -> usize {
    // SAFETY: the mock's own object.
    unsafe { (*this).bytes.len() }
}

pub(crate) extern "C" fn parse(this: *mut Object, data: *const u8, size: usize, path: *const c_char) -> usize {
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

pub(crate) extern "C" fn supports_operator(_this: *mut Object, name: *const c_char) -> usize {
    if text(name) == "Conv" { YES } else { NO }
}

pub(crate) extern "C" fn destroy_parser(this: *mut Object) {
    // SAFETY: called once, by its owner.
    drop(unsafe { Box::from_raw(this) });
    world(|w| {
        *w.live.entry("Parser").or_default() -= 1;
        w.calls.push("delete Parser".into());
    });
}

pub(crate) extern "C" fn get_error(this: *mut Object, index: i32) -> *mut c_void {
    note(this, format!("getError({index})"));
    Box::into_raw(object("ParserError")).cast()
}

pub(crate) extern "C" fn clear_errors(this: *mut Object) {
    note(this, "clearErrors()");
}

pub(crate) extern "C" fn error_code(_this: *mut Object) -> i32 {
    8
}

pub(crate) extern "C" fn error_desc(_this: *mut Object) -> *const c_char {
    c_string("no such operator: Frobnicate")
}

pub(crate) extern "C" fn error_file(_this: *mut Object) -> *const c_char {
    c_string("ModelImporter.cpp")
}

pub(crate) extern "C" fn error_line(_this: *mut Object) -> i32 {
    77
}

pub(crate) extern "C" fn error_func(_this: *mut Object) -> *const c_char {
    std::ptr::null()
}

pub(crate) extern "C" fn error_node(_this: *mut Object) -> i32 {
    3
}
