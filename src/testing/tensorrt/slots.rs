//! Where each version has its methods, and which of the mock's functions is there.

use std::ffi::c_void;

use crate::testing::tensorrt::building::*;
use crate::testing::tensorrt::running::*;
use crate::testing::tensorrt::{
    Object, get_logger, get_max_threads, get_public, note, one, set_max_threads, world, yes,
};

/// Class, method, and its slot in 8.5, 8.6, 10.0, 10.1 to 10.16, and 11.x; -1 where there is none.
const SLOTS: &[(&str, &str, [i32; 5])] = &[
    ("Runtime", "deserializeCudaEngine", [2, 2, 3, 3, 3]),
    ("Runtime", "getPImpl", [-1, 16, 2, 2, 2]),
    ("Runtime", "getLogger", [9, 9, 11, 11, 10]),
    ("Runtime", "setMaxThreads", [10, 10, 12, 12, 11]),
    ("Runtime", "getMaxThreads", [11, 11, 13, 13, 12]),
    ("Engine", "getNbIOTensors", [45, 45, 30, 30, 26]),
    ("Engine", "getIOTensorName", [46, 46, 31, 31, 27]),
    ("Engine", "getTensorIOMode", [38, 38, 23, 23, 19]),
    ("Engine", "getTensorDataType", [35, 35, 20, 20, 16]),
    ("Engine", "getTensorFormat", [41, 41, 26, 26, 22]),
    ("Engine", "getNbOptimizationProfiles", [22, 22, 10, 10, 8]),
    ("Engine", "createExecutionContext", [11, 11, 5, 5, 5]),
    (
        "Engine",
        "createExecutionContextWithoutDeviceMemory",
        [13, 13, -1, -1, -1],
    ),
    ("Engine", "getDeviceMemorySize", [14, 14, -1, -1, -1]),
    ("Context", "setInputShape", [29, 29, 21, 21, 20]),
    ("Context", "setTensorAddress", [32, 32, 24, 24, 23]),
    ("Context", "getTensorShape", [30, 30, 22, 22, 21]),
    ("Context", "enqueueV3", [44, 44, 37, 37, 36]),
    ("Context", "inferShapes", [35, 35, 28, 28, 27]),
    ("Context", "setDeviceMemory", [11, 11, 10, 10, 10]),
    ("Context", "setDeviceMemoryV2", [-1, -1, -1, 49, 48]),
    ("Context", "updateDeviceMemorySizeForShapes", [-1, -1, 48, 48, 47]),
    ("Builder", "createNetworkV2", [11, 11, 8, 8, 6]),
    ("Builder", "createBuilderConfig", [9, 9, 7, 7, 5]),
    ("Builder", "createOptimizationProfile", [12, 12, 9, 9, 7]),
    ("Builder", "buildSerializedNetwork", [17, 17, 14, 14, 11]),
    ("Builder", "getLogger", [19, 19, 16, 16, 13]),
    ("Builder", "setMaxThreads", [20, 20, 17, 17, 14]),
    ("Builder", "getMaxThreads", [21, 21, 18, 18, 15]),
    ("Config", "setFlag", [15, 15, 11, 11, 9]),
    ("Config", "clearFlag", [14, 14, 10, 10, 8]),
    ("Config", "getFlag", [16, 16, 12, 12, 10]),
    ("Config", "addOptimizationProfile", [29, 29, 25, 25, 23]),
    ("Config", "setTacticSources", [42, 42, 38, 38, 27]),
    ("Config", "createTimingCache", [44, 44, 40, 40, 29]),
    ("Config", "setTimingCache", [45, 45, 41, 41, 30]),
    ("Config", "getTimingCache", [46, 46, 42, 42, 31]),
    ("Config", "setProgressMonitor", [-1, -1, 56, 56, 45]),
    ("Network", "getNbInputs", [19, 19, 14, 14, 14]),
    ("Network", "getInput", [20, 20, 15, 15, 15]),
    ("Network", "getNbOutputs", [21, 21, 16, 16, 16]),
    ("Network", "getOutput", [22, 22, 17, 17, 17]),
    ("Tensor", "getName", [3, 3, 3, 3, 3]),
    ("Tensor", "getDimensions", [5, 5, 5, 5, 5]),
    ("Tensor", "setAllowedFormats", [19, 19, 19, 19, 13]),
    ("Profile", "setDimensions", [2, 2, 2, 2, 2]),
    ("Profile", "isValid", [9, 9, 9, 9, 7]),
    ("Memory", "data", [2, 2, 2, 2, 2]),
    ("Memory", "size", [3, 3, 3, 3, 3]),
    ("Cache", "serialize", [2, 2, 2, 2, 2]),
    ("Parser", "parse", [0, 0, 0, 0, 0]),
    ("Parser", "supportsOperator", [4, 4, 4, 4, 2]),
    ("Parser", "destroy", [5, 5, -1, -1, -1]),
    ("Parser", "getNbErrors", [6, 6, 5, 5, 3]),
    ("Parser", "getError", [7, 7, 6, 6, 4]),
    ("Parser", "clearErrors", [8, 8, 7, 7, 5]),
    ("Parser", "deletingDestructor", [10, 10, 9, 9, 7]),
    ("ParserError", "code", [0, 0, 0, 0, 0]),
    ("ParserError", "desc", [1, 1, 1, 1, 1]),
    ("ParserError", "file", [2, 2, 2, 2, 2]),
    ("ParserError", "line", [3, 3, 3, 3, 3]),
    ("ParserError", "func", [4, 4, 4, 4, 4]),
    ("ParserError", "node", [5, 5, 5, 5, 5]),
];

/// A class's virtual table, which stays.
pub(crate) fn table(class: &'static str) -> *const *const c_void {
    let mut slots = UNEXPECTED.map(|f| f as *const c_void).to_vec();
    let (column, replaced) = world(|w| (w.column, w.replaced.clone()));
    for (_, method, columns) in SLOTS.iter().filter(|(c, ..)| *c == class) {
        if let Ok(slot) = usize::try_from(columns[column]) {
            let other = replaced.iter().find(|(c, m, _)| (*c, *m) == (class, *method));
            slots[slot] = other.map_or_else(|| function(class, method, column), |(_, _, f)| *f as *const c_void);
        }
    }
    slots.leak().as_ptr()
}

pub(crate) extern "C" fn unexpected<const SLOT: usize>(this: *mut Object) -> usize {
    note(this, format!("slot {SLOT} is unexpected"));
    0
}

macro_rules! unexpected {
    ($($slot:literal)+) => { [$(unexpected::<$slot> as extern "C" fn(*mut Object) -> usize),+] };
}

const UNEXPECTED: [extern "C" fn(*mut Object) -> usize; 64] = unexpected!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);

/// A method, in the signature of its version.
fn function(class: &str, method: &str, column: usize) -> *const c_void {
    let narrow = column < 2;
    match (class, method) {
        ("Runtime", "deserializeCudaEngine") if narrow => deserialize_three as *const c_void,
        ("Runtime", "deserializeCudaEngine") => deserialize_two as *const c_void,
        ("Runtime", "getPImpl") => get_public as *const c_void,
        (_, "getLogger") => get_logger as *const c_void,
        (_, "setMaxThreads") => set_max_threads as *const c_void,
        (_, "getMaxThreads") => get_max_threads as *const c_void,
        ("Engine", "getNbIOTensors") => engine_tensors as *const c_void,
        ("Engine", "getIOTensorName") => engine_tensor_name as *const c_void,
        ("Engine", "getTensorIOMode") => engine_tensor_mode as *const c_void,
        ("Engine", "getTensorDataType") => engine_tensor_type as *const c_void,
        ("Engine", "getTensorFormat") => engine_tensor_format as *const c_void,
        ("Engine", "getNbOptimizationProfiles") => one as *const c_void,
        ("Engine", "createExecutionContext") if narrow => create_context as *const c_void,
        ("Engine", "createExecutionContext") => create_context_with_strategy as *const c_void,
        ("Engine", "createExecutionContextWithoutDeviceMemory") => create_context_without_memory as *const c_void,
        ("Engine", "getDeviceMemorySize") => device_memory_size as *const c_void,
        ("Context", "setInputShape") if narrow => set_input_shape_narrow as *const c_void,
        ("Context", "setInputShape") => set_input_shape_wide as *const c_void,
        ("Context", "setTensorAddress") => set_tensor_address as *const c_void,
        ("Context", "getTensorShape") if narrow => get_tensor_shape_narrow as *const c_void,
        ("Context", "getTensorShape") => get_tensor_shape_wide as *const c_void,
        ("Context", "enqueueV3") => enqueue as *const c_void,
        ("Context", "inferShapes") => infer_shapes as *const c_void,
        ("Context", "setDeviceMemory") => set_device_memory as *const c_void,
        ("Context", "setDeviceMemoryV2") => set_device_memory_v2 as *const c_void,
        ("Context", "updateDeviceMemorySizeForShapes") => device_memory_size as *const c_void,
        ("Builder", "createNetworkV2") => create_network as *const c_void,
        ("Builder", "createBuilderConfig") => create_config as *const c_void,
        ("Builder", "createOptimizationProfile") => create_profile as *const c_void,
        ("Builder", "buildSerializedNetwork") => build as *const c_void,
        ("Config", "setFlag") => set_flag as *const c_void,
        ("Config", "clearFlag") => clear_flag as *const c_void,
        ("Config", "getFlag") => get_flag as *const c_void,
        ("Config", "addOptimizationProfile") => add_profile as *const c_void,
        ("Config", "setTacticSources") => set_tactic_sources as *const c_void,
        ("Config", "createTimingCache") => create_timing_cache as *const c_void,
        ("Config", "setTimingCache") => set_timing_cache as *const c_void,
        ("Config", "getTimingCache") => get_timing_cache as *const c_void,
        ("Config", "setProgressMonitor") => set_progress_monitor as *const c_void,
        ("Network", "getNbInputs") => network_inputs as *const c_void,
        ("Network", "getInput") => network_input as *const c_void,
        ("Network", "getNbOutputs") => network_outputs as *const c_void,
        ("Network", "getOutput") => network_output as *const c_void,
        ("Tensor", "getName") => tensor_name as *const c_void,
        ("Tensor", "getDimensions") if narrow => tensor_dims_narrow as *const c_void,
        ("Tensor", "getDimensions") => tensor_dims_wide as *const c_void,
        ("Tensor", "setAllowedFormats") => set_allowed_formats as *const c_void,
        ("Profile", "setDimensions") if narrow => set_dimensions_narrow as *const c_void,
        ("Profile", "setDimensions") => set_dimensions_wide as *const c_void,
        ("Profile", "isValid") => yes as *const c_void,
        ("Memory", "data") => memory_data as *const c_void,
        ("Memory", "size") => memory_size as *const c_void,
        ("Cache", "serialize") => cache_serialize as *const c_void,
        ("Parser", "parse") => parse as *const c_void,
        ("Parser", "supportsOperator") => supports_operator as *const c_void,
        ("Parser", "destroy") | ("Parser", "deletingDestructor") => match (method, narrow) {
            ("destroy", true) | ("deletingDestructor", false) => destroy_parser as *const c_void,
            _ => unexpected::<10> as *const c_void,
        },
        ("Parser", "getNbErrors") => one as *const c_void,
        ("Parser", "getError") => get_error as *const c_void,
        ("Parser", "clearErrors") => clear_errors as *const c_void,
        ("ParserError", "code") => error_code as *const c_void,
        ("ParserError", "desc") => error_desc as *const c_void,
        ("ParserError", "file") => error_file as *const c_void,
        ("ParserError", "line") => error_line as *const c_void,
        ("ParserError", "func") => error_func as *const c_void,
        ("ParserError", "node") => error_node as *const c_void,
        _ => panic!("the mock has no {class}.{method}"),
    }
}
