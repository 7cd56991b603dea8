//! What runtimes, engines and execution contexts do.

use std::ffi::{c_char, c_void};

use crate::gpu::{NarrowDims, WideDims};
use crate::testing::tensorrt::{
    Fault, Format, NO, Object, Read, YES, c_string, complain, note, object, ports, public, public_of, text, world,
};

pub(crate) extern "C" fn deserialize_two(this: *mut Object, data: *const u8, size: usize) -> *mut c_void {
    // SAFETY: whoever calls passes that many bytes.
    let plan = String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(data, size) }).into_owned();
    note(this, format!("deserializeCudaEngine({plan:?})"));
    match Read::all()
        .find(|read| plan == read.plan())
        .filter(|_| world(|w| w.fault) != Fault::RefusesPlan)
    {
        Some(read) => {
            world(|w| w.engine = Some(read));
            let mut engine = object("Engine");
            engine.bytes = plan.into_bytes();
            public_of(engine)
        }
        None => std::ptr::null_mut(),
    }
}

pub(crate) extern "C" fn deserialize_three(
    this: *mut Object,
    data: *const u8,
    size: usize,
    third: *mut c_void,
) -> *mut c_void {
    assert!(third.is_null());
    deserialize_two(this, data, size)
}

fn engine_ports() -> Vec<(&'static str, usize, bool)> {
    ports(world(|w| w.engine).unwrap().which)
}

pub(crate) extern "C" fn engine_tensors(_this: *mut Object) -> i32 {
    match world(|w| w.fault) {
        Fault::ManyTensors => 1025,
        _ => engine_ports().len() as i32,
    }
}

pub(crate) extern "C" fn engine_tensor_name(_this: *mut Object, index: i32) -> *const c_char {
    c_string(engine_ports()[index as usize].0)
}

pub(crate) extern "C" fn engine_tensor_mode(_this: *mut Object, name: *const c_char) -> i32 {
    let name = text(name);
    let port = engine_ports().into_iter().find(|p| p.0 == name).unwrap();
    if port.2 { 1 } else { 2 }
}

pub(crate) extern "C" fn engine_tensor_type(_this: *mut Object, _name: *const c_char) -> i32 {
    match world(|w| w.engine).unwrap().format {
        Format::Fp16 => 1,
        Format::Fp32 | Format::Wide => 0,
    }
}

pub(crate) extern "C" fn engine_tensor_format(_this: *mut Object, _name: *const c_char) -> i32 {
    if world(|w| w.fault) == Fault::OddFormat { 2 } else { 0 }
}

fn make_context(this: *mut Object, call: &str) -> *mut c_void {
    note(this, call);
    match world(|w| w.fault) {
        Fault::SmallMemory => {
            complain(c"[defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)");
            std::ptr::null_mut()
        }
        Fault::NoContext => std::ptr::null_mut(),
        _ => public("Context"),
    }
}

pub(crate) extern "C" fn create_context(this: *mut Object) -> *mut c_void {
    make_context(this, "createExecutionContext()")
}

pub(crate) extern "C" fn create_context_without_memory(this: *mut Object) -> *mut c_void {
    make_context(this, "createExecutionContextWithoutDeviceMemory()")
}

pub(crate) extern "C" fn create_context_with_strategy(this: *mut Object, strategy: i32) -> *mut c_void {
    make_context(this, &format!("createExecutionContext({strategy})"))
}

pub(crate) extern "C" fn device_memory_size(this: *mut Object) -> usize {
    note(this, "memory size");
    if world(|w| w.fault) == Fault::NoSize {
        complain(c"[executionContext.cpp::updateDeviceMemorySizeForShapes] Error Code 3: API Usage Error");
        return 0;
    }
    5 << 30
}

fn shaped(name: String, taken: bool) -> usize {
    if !taken {
        return NO;
    }
    world(|w| w.shaped.insert(name));
    YES
}

pub(crate) extern "C" fn infer_shapes(_this: *mut Object, names: i32, _missing: *mut *const c_char) -> i32 {
    assert_eq!(names, 0);
    match world(|w| w.fault) {
        Fault::NoShapes => -1,
        _ => engine_ports()
            .iter()
            .filter(|(name, _, input)| *input && !world(|w| w.shaped.contains(*name)))
            .count() as i32,
    }
}

pub(crate) extern "C" fn set_input_shape_narrow(
    this: *mut Object,
    name: *const c_char,
    dims: *const NarrowDims,
) -> usize {
    // SAFETY: the caller's dimensions.
    let dims = unsafe { *dims };
    note(
        this,
        format!("setInputShape({}, {:?})", text(name), &dims.d[..dims.count as usize]),
    );
    shaped(text(name), dims.d[2] > 0)
}

pub(crate) extern "C" fn set_input_shape_wide(this: *mut Object, name: *const c_char, dims: *const WideDims) -> usize {
    // SAFETY: the caller's dimensions.
    let dims = unsafe { *dims };
    note(
        this,
        format!("setInputShape({}, {:?})", text(name), &dims.d[..dims.count as usize]),
    );
    shaped(text(name), dims.d[2] > 0)
}

pub(crate) extern "C" fn get_tensor_shape_narrow(this: *mut Object, name: *const c_char) -> NarrowDims {
    note(this, format!("getTensorShape({})", text(name)));
    let unknown = text(name) == "absent" || world(|w| w.fault) == Fault::NoShape;
    NarrowDims {
        count: if unknown { -1 } else { 4 },
        d: [1, 3, 48, 64, 9, 9, 9, 9],
    }
}

pub(crate) extern "C" fn get_tensor_shape_wide(this: *mut Object, name: *const c_char) -> WideDims {
    note(this, format!("getTensorShape({})", text(name)));
    let odd = world(|w| w.fault) == Fault::NoShape;
    WideDims {
        count: if text(name) == "absent" { -1 } else { 4 },
        d: [1, 3, if odd { -1 } else { 48 }, 64, 9, 9, 9, 9],
    }
}

pub(crate) extern "C" fn set_tensor_address(this: *mut Object, name: *const c_char, address: usize) -> usize {
    note(this, format!("setTensorAddress({}, {address:#x})", text(name)));
    if text(name) == "absent" { NO } else { YES }
}

pub(crate) extern "C" fn enqueue(this: *mut Object, stream: usize) -> usize {
    note(this, format!("enqueueV3({stream:#x})"));
    if stream == 0 { NO } else { YES }
}

fn refuse_memory() {
    if world(|w| w.fault) == Fault::RefusesMemory {
        complain(c"[executionContext.cpp::setDeviceMemoryV2] Error Code 3: API Usage Error");
    }
}

pub(crate) extern "C" fn set_device_memory(this: *mut Object, address: usize) {
    note(this, format!("setDeviceMemory({address:#x})"));
    refuse_memory();
}

pub(crate) extern "C" fn set_device_memory_v2(this: *mut Object, address: usize, size: i64) {
    note(this, format!("setDeviceMemoryV2({address:#x}, {size})"));
    refuse_memory();
}
