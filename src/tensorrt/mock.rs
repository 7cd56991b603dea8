//! A TensorRT of test objects with the documented layout, for each version family.
//!
//! Every slot that is not named in [`SLOTS`] reports itself when it is called, so a call that lands one slot beside
//! its method is seen. What is called is written down, with the arguments as they arrive.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};

use super::library::{Functions, Library};
use super::logger::logger;
use super::objects::{NarrowDims, WideDims};
use super::ports::widen;
use super::tables::{Generation, Table};
use super::version::Version;
use crate::pack::{Pack, Precision, Subnetwork};

/// The versions that there is a mock of, by the columns of [`SLOTS`], and what `getInferLibVersion` tells.
pub(super) const VERSIONS: [i32; 5] = [8503, 8601, 100_001, 101_601, 110_400];

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
    ("Context", "allInputDimensionsSpecified", [19, 19, 12, 12, 12]),
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

/// One fault that the mock is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    #[default]
    None,
    /// Factories return a null pointer plus an offset, as 10.x and 11.x do without a driver.
    NearNull,
    /// Factories return an odd address.
    Unaligned,
    OtherLogger,
    ForgetsThreads,
    OtherPublic,
    NetworkNotEmpty,
    /// The parser takes rubbish as an empty file, as that of 8.5.3 does if it begins with a zero.
    TakesRubbish,
    ManyTensors,
    NoFlags,
    NoEngine,
    RefusesPlan,
    RefusesTimingCache,
    SmallMemory,
    NoContext,
    OddFormat,
    /// The shape of an output is not known, or one side of it.
    NoShape,
}

/// A file that the mock knows: one of `lite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Read {
    which: Subnetwork,
    format: Format,
}

/// Arithmetic and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Fp32,
    Fp16,
    /// 16 bits behind ports of 32.
    Wide,
}

impl Read {
    fn all() -> impl Iterator<Item = Self> {
        let formats = [Format::Fp32, Format::Fp16, Format::Wide];
        Subnetwork::ALL
            .into_iter()
            .flat_map(move |which| formats.map(|format| Self { which, format }))
    }

    fn onnx(self, pack: &Pack) -> Vec<u8> {
        let file = |precision| pack.onnx(self.which, precision).unwrap();
        match self.format {
            Format::Fp32 => file(Precision::Fp32).into_owned(),
            Format::Fp16 => file(Precision::Fp16).into_owned(),
            Format::Wide => widen(&file(Precision::Fp16)).unwrap(),
        }
    }

    fn plan(self) -> String {
        let ports = match self.format {
            Format::Fp32 => " in 32 bits",
            Format::Fp16 => "",
            Format::Wide => " behind 32 bits",
        };
        format!("plan of {}{ports}", self.which.name())
    }
}

/// What the mock's objects know, for one thread.
#[derive(Default)]
struct World {
    column: usize,
    fault: Fault,
    calls: Vec<String>,
    live: BTreeMap<&'static str, i32>,
    threads: i32,
    flags: Vec<i32>,
    tf32: bool,
    /// What the parser has read.
    parsed: Option<Read>,
    engine: Option<Read>,
    timing: Vec<u8>,
    replaced: Vec<(&'static str, &'static str, usize)>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

fn world<T>(work: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with(|world| work(&mut world.borrow_mut()))
}

/// An object: first the virtual table, then what the mock knows of it.
#[repr(C)]
struct Object {
    table: *const *const c_void,
    class: &'static str,
    public: *mut Public,
    bytes: Vec<u8>,
    port: Option<(CString, usize, bool)>,
}

#[repr(C)]
struct Public {
    table: *const *const c_void,
    implementation: *mut Object,
}

fn note(this: *mut Object, text: impl AsRef<str>) {
    // SAFETY: the mock's own objects call this with themselves.
    let class = unsafe { (*this).class };
    world(|w| w.calls.push(format!("{class}.{}", text.as_ref())));
}

/// What has been called since the last time.
pub(super) fn calls() -> Vec<String> {
    world(|w| std::mem::take(&mut w.calls))
}

/// Objects that have not been deleted, by class. Profiles and tensors belong to others and are not counted.
pub(super) fn live() -> BTreeMap<&'static str, i32> {
    world(|w| {
        w.live
            .iter()
            .filter(|(_, n)| **n != 0)
            .map(|(class, n)| (*class, *n))
            .collect()
    })
}

pub(super) fn break_with(fault: Fault) {
    world(|w| w.fault = fault);
}

/// Puts another function into a slot, for the objects made from now on.
pub(super) fn replace(class: &'static str, method: &'static str, function: usize) {
    world(|w| w.replaced.push((class, method, function)));
}

/// A TensorRT of the version in a column of [`SLOTS`]. What was called and set before is forgotten.
pub(super) fn library(column: usize) -> &'static Library {
    let told = VERSIONS[column];
    world(|w| {
        *w = World {
            column,
            threads: 1,
            tf32: true,
            ..World::default()
        }
    });
    let version = Version::decode(told);
    Box::leak(Box::new(Library {
        version,
        table: Table::of(version).unwrap(),
        functions: Functions {
            told,
            create_builder: Some(create_builder),
            create_runtime: Some(create_runtime),
            create_parser: Some(create_parser),
            parser_told: 100,
        },
        name: "mock".into(),
    }))
}

/// A public network that belongs to no builder, for a real parser.
pub(super) fn network() -> *mut c_void {
    public("Network")
}

fn table(class: &'static str) -> *const *const c_void {
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

fn object(class: &'static str) -> Box<Object> {
    Box::new(Object {
        table: table(class),
        class,
        public: std::ptr::null_mut(),
        bytes: Vec::new(),
        port: None,
    })
}

fn public_of(object: Box<Object>) -> *mut c_void {
    let own: &'static [*const c_void] = vec![unexpected::<0> as *const c_void, delete as *const c_void].leak();
    let class = object.class;
    let implementation = Box::into_raw(object);
    let public = Box::into_raw(Box::new(Public {
        table: own.as_ptr(),
        implementation,
    }));
    // SAFETY: just made.
    unsafe { (*implementation).public = public };
    if !["Profile", "Tensor"].contains(&class) {
        world(|w| *w.live.entry(class).or_default() += 1);
    }
    public.cast()
}

fn public(class: &'static str) -> *mut c_void {
    public_of(object(class))
}

fn memory(bytes: Vec<u8>) -> *mut c_void {
    let mut memory = object("Memory");
    memory.bytes = bytes;
    public_of(memory)
}

/// The deleting destructor of public objects.
extern "C" fn delete(this: *mut Public) {
    // SAFETY: called once for each object, by its owner.
    let class = unsafe {
        let public = Box::from_raw(this);
        Box::from_raw(public.implementation).class
    };
    world(|w| {
        *w.live.entry(class).or_default() -= 1;
        w.calls.push(format!("delete {class}"));
    });
}

extern "C" fn unexpected<const SLOT: usize>(this: *mut Object) -> usize {
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
        ("Context", "allInputDimensionsSpecified") => yes as *const c_void,
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

/// A C string that stays.
fn c_string(text: &str) -> *const c_char {
    CString::new(text).unwrap().into_raw()
}

fn text(name: *const c_char) -> String {
    // SAFETY: whoever calls the mock passes C strings.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn create_runtime(given: *mut c_void, told: i32) -> *mut c_void {
    factory("Runtime", given, told)
}

unsafe extern "C" fn create_builder(given: *mut c_void, told: i32) -> *mut c_void {
    factory("Builder", given, told)
}

fn factory(class: &'static str, given: *mut c_void, told: i32) -> *mut c_void {
    let version = Version::decode(told);
    assert_eq!(given, logger(Table::of(version).unwrap().generation));
    assert_eq!(told, world(|w| VERSIONS[w.column]));
    match world(|w| w.fault) {
        Fault::NearNull => 0x228 as *mut c_void,
        Fault::Unaligned => (1 << 20 | 4) as *mut c_void,
        _ => public(class),
    }
}

unsafe extern "C" fn create_parser(network: *mut c_void, given: *mut c_void, told: i32) -> *mut c_void {
    assert_eq!(told, 100);
    assert!(!given.is_null());
    // SAFETY: the mock's own network.
    let class = unsafe { (*(*network.cast::<Public>()).implementation).class };
    assert_eq!(class, "Network");
    world(|w| *w.live.entry("Parser").or_default() += 1);
    Box::into_raw(object("Parser")).cast()
}

extern "C" fn get_public(this: *mut Object) -> *mut c_void {
    note(this, "getPImpl()");
    match world(|w| w.fault) {
        Fault::OtherPublic => this.cast(),
        // SAFETY: the mock's own object.
        _ => unsafe { (*this).public.cast() },
    }
}

extern "C" fn get_logger(this: *mut Object) -> *mut c_void {
    note(this, "getLogger()");
    let generation = Table::of(Version::decode(world(|w| VERSIONS[w.column])))
        .unwrap()
        .generation;
    match world(|w| w.fault) {
        Fault::OtherLogger => this.cast(),
        _ => logger(generation),
    }
}

/// Says something to the logger, as TensorRT does.
fn complain(message: &CStr) {
    let generation = Table::of(Version::decode(world(|w| VERSIONS[w.column])))
        .unwrap()
        .generation;
    let (logger, slot) = (logger(generation), if generation == Generation::Eleven { 4 } else { 0 });
    // SAFETY: the logger's virtual table has log(severity, message) in that slot.
    unsafe {
        let table = logger
            .cast::<*const extern "C" fn(*mut c_void, i32, *const c_char)>()
            .read();
        (*table.add(slot))(logger, 1, message.as_ptr());
    }
}

/// The low byte alone is defined of what returns a bool.
const YES: usize = 0xdead_be01;
const NO: usize = 0xdead_be00;

extern "C" fn set_max_threads(this: *mut Object, n: i32) -> usize {
    note(this, format!("setMaxThreads({n})"));
    world(|w| {
        if w.fault != Fault::ForgetsThreads {
            w.threads = n;
        }
    });
    YES
}

extern "C" fn get_max_threads(this: *mut Object) -> i32 {
    note(this, "getMaxThreads()");
    world(|w| w.threads)
}

extern "C" fn one(_this: *mut Object) -> i32 {
    1
}

extern "C" fn yes(_this: *mut Object) -> usize {
    YES
}

extern "C" fn deserialize_two(this: *mut Object, data: *const u8, size: usize) -> *mut c_void {
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

extern "C" fn deserialize_three(this: *mut Object, data: *const u8, size: usize, third: *mut c_void) -> *mut c_void {
    assert!(third.is_null());
    deserialize_two(this, data, size)
}

/// Name, channels and direction of the ports of a subnetwork.
fn ports(which: Subnetwork) -> Vec<(&'static str, usize, bool)> {
    let inputs = which.inputs().iter().map(|(name, channels)| (*name, *channels, true));
    let outputs = which.outputs().iter().map(|(name, channels)| (*name, *channels, false));
    inputs.chain(outputs).collect()
}

fn engine_ports() -> Vec<(&'static str, usize, bool)> {
    ports(world(|w| w.engine).unwrap().which)
}

extern "C" fn engine_tensors(_this: *mut Object) -> i32 {
    match world(|w| w.fault) {
        Fault::ManyTensors => 1025,
        _ => engine_ports().len() as i32,
    }
}

extern "C" fn engine_tensor_name(_this: *mut Object, index: i32) -> *const c_char {
    c_string(engine_ports()[index as usize].0)
}

extern "C" fn engine_tensor_mode(_this: *mut Object, name: *const c_char) -> i32 {
    let name = text(name);
    let port = engine_ports().into_iter().find(|p| p.0 == name).unwrap();
    if port.2 { 1 } else { 2 }
}

extern "C" fn engine_tensor_type(_this: *mut Object, _name: *const c_char) -> i32 {
    match world(|w| w.engine).unwrap().format {
        Format::Fp16 => 1,
        Format::Fp32 | Format::Wide => 0,
    }
}

extern "C" fn engine_tensor_format(_this: *mut Object, _name: *const c_char) -> i32 {
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

extern "C" fn create_context(this: *mut Object) -> *mut c_void {
    make_context(this, "createExecutionContext()")
}

extern "C" fn create_context_without_memory(this: *mut Object) -> *mut c_void {
    make_context(this, "createExecutionContextWithoutDeviceMemory()")
}

extern "C" fn create_context_with_strategy(this: *mut Object, strategy: i32) -> *mut c_void {
    make_context(this, &format!("createExecutionContext({strategy})"))
}

extern "C" fn device_memory_size(this: *mut Object) -> usize {
    note(this, "memory size");
    5 << 30
}

extern "C" fn set_input_shape_narrow(this: *mut Object, name: *const c_char, dims: *const NarrowDims) -> usize {
    // SAFETY: the caller's dimensions.
    let dims = unsafe { *dims };
    note(
        this,
        format!("setInputShape({}, {:?})", text(name), &dims.d[..dims.count as usize]),
    );
    if dims.d[2] > 0 { YES } else { NO }
}

extern "C" fn set_input_shape_wide(this: *mut Object, name: *const c_char, dims: *const WideDims) -> usize {
    // SAFETY: the caller's dimensions.
    let dims = unsafe { *dims };
    note(
        this,
        format!("setInputShape({}, {:?})", text(name), &dims.d[..dims.count as usize]),
    );
    if dims.d[2] > 0 { YES } else { NO }
}

extern "C" fn get_tensor_shape_narrow(this: *mut Object, name: *const c_char) -> NarrowDims {
    note(this, format!("getTensorShape({})", text(name)));
    let unknown = text(name) == "absent" || world(|w| w.fault) == Fault::NoShape;
    NarrowDims {
        count: if unknown { -1 } else { 4 },
        d: [1, 3, 48, 64, 9, 9, 9, 9],
    }
}

extern "C" fn get_tensor_shape_wide(this: *mut Object, name: *const c_char) -> WideDims {
    note(this, format!("getTensorShape({})", text(name)));
    let odd = world(|w| w.fault) == Fault::NoShape;
    WideDims {
        count: if text(name) == "absent" { -1 } else { 4 },
        d: [1, 3, if odd { -1 } else { 48 }, 64, 9, 9, 9, 9],
    }
}

extern "C" fn set_tensor_address(this: *mut Object, name: *const c_char, address: usize) -> usize {
    note(this, format!("setTensorAddress({}, {address:#x})", text(name)));
    if text(name) == "absent" { NO } else { YES }
}

extern "C" fn enqueue(this: *mut Object, stream: usize) -> usize {
    note(this, format!("enqueueV3({stream:#x})"));
    if stream == 0 { NO } else { YES }
}

extern "C" fn set_device_memory(this: *mut Object, address: usize) {
    note(this, format!("setDeviceMemory({address:#x})"));
}

extern "C" fn set_device_memory_v2(this: *mut Object, address: usize, size: i64) {
    note(this, format!("setDeviceMemoryV2({address:#x}, {size})"));
}

extern "C" fn create_network(this: *mut Object, flags: u32) -> *mut c_void {
    note(this, format!("createNetworkV2({flags})"));
    world(|w| w.parsed = None);
    public("Network")
}

extern "C" fn create_config(this: *mut Object) -> *mut c_void {
    note(this, "createBuilderConfig()");
    public("Config")
}

extern "C" fn create_profile(this: *mut Object) -> *mut c_void {
    note(this, "createOptimizationProfile()");
    public("Profile")
}

fn class_of(address: *mut c_void) -> &'static str {
    // SAFETY: arguments that are objects are the mock's public ones.
    unsafe { (*(*address.cast::<Public>()).implementation).class }
}

extern "C" fn build(this: *mut Object, network: *mut c_void, config: *mut c_void) -> *mut c_void {
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

extern "C" fn set_flag(this: *mut Object, flag: i32) {
    note(this, format!("setFlag({flag})"));
    change_flag(flag, true);
}

extern "C" fn clear_flag(this: *mut Object, flag: i32) {
    note(this, format!("clearFlag({flag})"));
    change_flag(flag, false);
}

extern "C" fn get_flag(_this: *mut Object, flag: i32) -> usize {
    let set = if flag == tf32() {
        world(|w| w.tf32)
    } else {
        world(|w| w.flags.contains(&flag))
    };
    if set { YES } else { NO }
}

extern "C" fn add_profile(this: *mut Object, profile: *mut c_void) -> i32 {
    note(this, format!("addOptimizationProfile({})", class_of(profile)));
    0
}

extern "C" fn set_tactic_sources(this: *mut Object, mask: u32) -> usize {
    note(this, format!("setTacticSources({mask:#x})"));
    YES
}

extern "C" fn create_timing_cache(this: *mut Object, data: *const u8, size: usize) -> *mut c_void {
    note(this, format!("createTimingCache({size})"));
    assert_eq!(data.is_null(), size == 0);
    if size > 0 {
        // SAFETY: that many bytes are the caller's.
        world(|w| w.timing = unsafe { std::slice::from_raw_parts(data, size) }.to_vec());
    }
    public("Cache")
}

extern "C" fn set_timing_cache(this: *mut Object, cache: *mut c_void, ignore: u8) -> usize {
    note(this, format!("setTimingCache({}, {ignore})", class_of(cache)));
    let refuses = world(|w| w.fault == Fault::RefusesTimingCache && !w.timing.is_empty());
    world(|w| w.timing.truncate(if refuses { 0 } else { usize::MAX }));
    if refuses { NO } else { YES }
}

extern "C" fn get_timing_cache(this: *mut Object) -> *mut c_void {
    note(this, "getTimingCache()");
    let address = public("Cache");
    // It is the configuration's own.
    world(|w| *w.live.entry("Cache").or_default() -= 1);
    address
}

extern "C" fn cache_serialize(_this: *mut Object) -> *mut c_void {
    memory(world(|w| w.timing.clone()))
}

fn network_ports(input: bool) -> Vec<(&'static str, usize, bool)> {
    let read = world(|w| w.parsed);
    read.map_or_else(Vec::new, |r| {
        ports(r.which).into_iter().filter(|p| p.2 == input).collect()
    })
}

extern "C" fn network_inputs(_this: *mut Object) -> i32 {
    if world(|w| w.fault) == Fault::NetworkNotEmpty {
        7
    } else {
        network_ports(true).len() as i32
    }
}

extern "C" fn network_outputs(_this: *mut Object) -> i32 {
    network_ports(false).len() as i32
}

fn tensor((name, channels, input): (&str, usize, bool)) -> *mut c_void {
    let mut tensor = object("Tensor");
    tensor.port = Some((CString::new(name).unwrap(), channels, input));
    public_of(tensor)
}

extern "C" fn network_input(_this: *mut Object, index: i32) -> *mut c_void {
    tensor(network_ports(true)[index as usize])
}

extern "C" fn network_output(_this: *mut Object, index: i32) -> *mut c_void {
    tensor(network_ports(false)[index as usize])
}

fn port(this: *mut Object) -> &'static (CString, usize, bool) {
    // SAFETY: a tensor of the mock, which is never deleted.
    unsafe { (*this).port.as_ref().unwrap() }
}

extern "C" fn tensor_name(this: *mut Object) -> *const c_char {
    port(this).0.as_ptr()
}

fn tensor_dims(this: *mut Object) -> [i64; 8] {
    let (name, channels, _) = port(this);
    let side = if name.as_c_str() == c"ratio" { 1 } else { -1 };
    [1, *channels as i64, side, side, 0, 0, 0, 0]
}

extern "C" fn tensor_dims_narrow(this: *mut Object) -> NarrowDims {
    NarrowDims {
        count: 4,
        d: tensor_dims(this).map(|v| v as i32),
    }
}

extern "C" fn tensor_dims_wide(this: *mut Object) -> WideDims {
    WideDims {
        count: 4,
        d: tensor_dims(this),
    }
}

extern "C" fn set_allowed_formats(this: *mut Object, mask: u32) {
    note(
        this,
        format!("setAllowedFormats({}, {mask})", port(this).0.to_string_lossy()),
    );
}

extern "C" fn set_dimensions_narrow(this: *mut Object, name: *const c_char, which: i32, dims: NarrowDims) -> usize {
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

extern "C" fn set_dimensions_wide(this: *mut Object, name: *const c_char, which: i32, dims: *const WideDims) -> usize {
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

extern "C" fn memory_data(this: *mut Object) -> *const u8 {
    // SAFETY: the mock's own object.
    unsafe { (*this).bytes.as_ptr() }
}

extern "C" fn memory_size(this: *mut Object) -> usize {
    // SAFETY: the mock's own object.
    unsafe { (*this).bytes.len() }
}

extern "C" fn parse(this: *mut Object, data: *const u8, size: usize, path: *const c_char) -> usize {
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

extern "C" fn supports_operator(_this: *mut Object, name: *const c_char) -> usize {
    if text(name) == "Conv" { YES } else { NO }
}

extern "C" fn destroy_parser(this: *mut Object) {
    // SAFETY: called once, by its owner.
    drop(unsafe { Box::from_raw(this) });
    world(|w| {
        *w.live.entry("Parser").or_default() -= 1;
        w.calls.push("delete Parser".into());
    });
}

extern "C" fn get_error(this: *mut Object, index: i32) -> *mut c_void {
    note(this, format!("getError({index})"));
    Box::into_raw(object("ParserError")).cast()
}

extern "C" fn clear_errors(this: *mut Object) {
    note(this, "clearErrors()");
}

extern "C" fn error_code(_this: *mut Object) -> i32 {
    8
}

extern "C" fn error_desc(_this: *mut Object) -> *const c_char {
    c_string("no such operator: Frobnicate")
}

extern "C" fn error_file(_this: *mut Object) -> *const c_char {
    c_string("ModelImporter.cpp")
}

extern "C" fn error_line(_this: *mut Object) -> i32 {
    77
}

extern "C" fn error_func(_this: *mut Object) -> *const c_char {
    std::ptr::null()
}

extern "C" fn error_node(_this: *mut Object) -> i32 {
    3
}
