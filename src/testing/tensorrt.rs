//! A TensorRT of test objects with the documented layout, for each version family.
//!
//! Every slot that is not named in [`slots`] reports itself when it is called, so a call that lands one slot beside
//! its method is seen. What is called is written down, with the arguments as they arrive.
#![allow(unsafe_code)]

mod abi;
mod building;
mod running;
mod slots;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_void};

use crate::gpu::{Functions, Generation, Library, Table, Version, logger};
use crate::pack::onnx::widen;
use crate::pack::{Pack, Subnetwork, Variant};
use crate::testing::tensorrt::slots::{table, unexpected};

/// The versions that there is a mock of, by the columns of [`slots`], and what `getInferLibVersion` tells.
pub(crate) const VERSIONS: [i32; 5] = [8503, 8601, 100_001, 101_601, 110_400];

/// One fault that the mock is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
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
    /// A build takes seconds, or ends when its monitor says so.
    SlowBuild,
    RefusesPlan,
    RefusesTimingCache,
    SmallMemory,
    NoContext,
    OddFormat,
    /// The shape of an output is not known, or one side of it.
    NoShape,
    /// Shapes cannot be inferred.
    NoShapes,
    /// What memory shapes need cannot be told.
    NoSize,
    /// Memory that is lent is not taken.
    RefusesMemory,
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
        let file = |variant| pack.onnx(self.which, variant).unwrap();
        match self.format {
            Format::Fp32 => file(Variant::Fp32).to_vec(),
            Format::Fp16 => file(Variant::Fp16).to_vec(),
            Format::Wide => widen(file(Variant::Fp16)).unwrap(),
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
    /// The address of the progress monitor; 0: none.
    monitor: usize,
    /// What the parser has read.
    parsed: Option<Read>,
    engine: Option<Read>,
    timing: Vec<u8>,
    /// The inputs whose shapes have been set.
    shaped: BTreeSet<String>,
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
pub(crate) fn calls() -> Vec<String> {
    world(|w| std::mem::take(&mut w.calls))
}

/// Objects that have not been deleted, by class. Profiles and tensors belong to others and are not counted.
pub(crate) fn live() -> BTreeMap<&'static str, i32> {
    world(|w| {
        w.live
            .iter()
            .filter(|(_, n)| **n != 0)
            .map(|(class, n)| (*class, *n))
            .collect()
    })
}

pub(crate) fn break_with(fault: Fault) {
    world(|w| w.fault = fault);
}

/// Puts another function into a slot, for the objects made from now on.
pub(crate) fn replace(class: &'static str, method: &'static str, function: usize) {
    world(|w| w.replaced.push((class, method, function)));
}

/// A TensorRT of the version in a column of [`slots`]. What was called and set before is forgotten.
pub(crate) fn library(column: usize) -> &'static Library {
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
pub(crate) fn network() -> *mut c_void {
    public("Network")
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
        // It has to outlive the builders that use it.
        if class == "Cache" && w.live.get("Builder").is_some_and(|&builders| builders > 0) {
            w.calls
                .push("unexpected: a timing cache ended before its builder".into());
        }
    });
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

/// Name, channels and direction of the ports of a subnetwork.
fn ports(which: Subnetwork) -> Vec<(&'static str, usize, bool)> {
    let inputs = which.inputs().iter().map(|(name, channels)| (*name, *channels, true));
    let outputs = which.outputs().iter().map(|(name, channels)| (*name, *channels, false));
    inputs.chain(outputs).collect()
}
