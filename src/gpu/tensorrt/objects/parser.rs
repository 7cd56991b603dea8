//! The ONNX parser.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{NonNull, null};

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::tensorrt::library::Library;
use crate::gpu::tensorrt::logger::{complaints, forget, logger};
#[cfg(test)]
use crate::gpu::tensorrt::objects::object::c_name;
use crate::gpu::tensorrt::objects::object::{LEAST_ADDRESS, Public, call, failed, is_plausible};
use crate::gpu::tensorrt::tables::Table;

/// What the ONNX parser says of a file that it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// `nvonnxparser::ErrorCode`, such as 3 for a file that is no ONNX and 8 for a node that is not supported.
    pub code: i32,
    /// Its words.
    pub description: String,
    /// The node's number in the file, or -1.
    pub node: i32,
    /// Where in the parser: file, line, function.
    pub place: (String, i32, String),
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (_, line, function) = &self.place;
        write!(
            f,
            "{}, code {} in {function}, line {line}",
            self.description.trim(),
            self.code
        )?;
        match self.node {
            0.. => write!(f, ", node {}", self.node),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// `nvonnxparser::IParser` and its errors: plain virtual classes, called directly.
#[derive(Debug)]
pub struct Parser {
    object: Direct,
    table: &'static Table,
}

/// An object without an implementation behind it.
#[derive(Debug, Clone, Copy)]
struct Direct(NonNull<c_void>);

impl Direct {
    fn new(address: *mut c_void, what: &str) -> Result<Self> {
        let refuse = || failed(format!("TensorRT gave no {what} ({address:p})"));
        let object = NonNull::new(address)
            .filter(|_| is_plausible(address))
            .ok_or_else(refuse)?;
        // SAFETY: a plausible address that the parser library returned is that of an object with a virtual table.
        let table = unsafe { object.cast::<*const c_void>().read() };
        if is_plausible(table) {
            Ok(Self(object))
        } else {
            Err(refuse())
        }
    }

    /// # Safety
    /// The object is alive, and `slot` is one of its class in this version.
    unsafe fn method(self, slot: usize) -> (*mut c_void, *const c_void) {
        // SAFETY: as the caller says.
        unsafe {
            let table = self.0.cast::<*const *const c_void>().read();
            (self.0.as_ptr(), table.add(slot).read())
        }
    }
}

impl Parser {
    pub fn new(library: &Library, network: &Public) -> Result<Self> {
        let create = library
            .functions
            .create_parser
            .ok_or_else(|| library.lacks("an ONNX parser"))?;
        // SAFETY: the factory's signature: a public network, which lives longer than the parser, and the logger.
        let address = unsafe {
            create(
                network.address(),
                logger(library.table.generation),
                library.functions.parser_told,
            )
        };
        Ok(Self {
            object: Direct::new(address, "ONNX parser")?,
            table: library.table,
        })
    }

    pub fn parse(&mut self, onnx: &[u8]) -> Result<()> {
        forget();
        let slots = &self.table.parser;
        let data = onnx.as_ptr().cast::<c_void>();
        // SAFETY: bool parse(void const*, size_t, char const* path), the path null: nothing outside the bytes.
        let parsed = unsafe {
            call!(self.object, slots.parse,
                (data => *const c_void, onnx.len() => usize, null() => *const c_char) -> u8)
        };
        if parsed != 0 {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::ModelInvalid,
            format!(
                "TensorRT's ONNX parser does not take {} bytes{}",
                onnx.len(),
                complaints()
            ),
        );
        let cause = self.errors()?.into_iter().next();
        // SAFETY: void clearErrors(); the errors have been copied.
        unsafe { call!(self.object, slots.clear_errors, () -> ()) };
        Err(match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        })
    }

    fn errors(&self) -> Result<Vec<ParseError>> {
        let (slots, of_error) = (&self.table.parser, &self.table.parser_error);
        // SAFETY: int32_t getNbErrors(); IParserError const* getError(int32_t), the parser's own until clearErrors();
        // of an error: int code(), C strings desc(), file(), func(), int line(), node(), valid as long as it is.
        unsafe {
            let count = call!(self.object, slots.get_nb_errors, () -> i32);
            (0..count.clamp(0, 64))
                .map(|i| {
                    let address = call!(self.object, slots.get_error, (i => i32) -> *mut c_void);
                    let error = Direct::new(address, "parser error")?;
                    let text = |slot| {
                        let text = call!(error, slot, () -> *const c_char);
                        match text as usize >= LEAST_ADDRESS {
                            true => CStr::from_ptr(text).to_string_lossy().into_owned(),
                            false => String::new(),
                        }
                    };
                    Ok(ParseError {
                        code: call!(error, of_error.code, () -> i32),
                        description: text(of_error.desc),
                        node: call!(error, of_error.node, () -> i32),
                        place: (
                            text(of_error.file),
                            call!(error, of_error.line, () -> i32),
                            text(of_error.func),
                        ),
                    })
                })
                .collect()
        }
    }

    #[cfg(test)]
    pub fn supports_operator(&self, name: &str) -> Result<bool> {
        let text = c_name(name)?;
        // SAFETY: bool supportsOperator(char const*).
        Ok(
            unsafe { call!(self.object, self.table.parser.supports_operator, (text.as_ptr() => *const c_char) -> u8) }
                != 0,
        )
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: void destroy(), or the deleting destructor: once, by the only owner.
        unsafe { call!(self.object, self.table.parser.delete, () -> ()) }
    }
}
