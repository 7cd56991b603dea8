//! TensorRT's shared libraries: looked for once, and the functions that make the first objects.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};
use crate::gpu::driver::{SharedLibrary, driver, load, open, search_path, symbol};
use crate::gpu::tensorrt::tables::Table;
use crate::gpu::tensorrt::version::Version;

/// The newest first; then those that are not known, to say so by name.
const INFERENCE: &[&str] = &[
    "libnvinfer.so.11",
    "libnvinfer.so.10",
    "libnvinfer.so.8",
    "libnvinfer.so.12",
    "libnvinfer.so.9",
];
const PARSER: &[&str] = &[
    "libnvonnxparser.so.11",
    "libnvonnxparser.so.10",
    "libnvonnxparser.so.8",
    "libnvonnxparser.so.12",
    "libnvonnxparser.so.9",
];
const PLUGIN: &[&str] = &[
    "libnvinfer_plugin.so.11",
    "libnvinfer_plugin.so.10",
    "libnvinfer_plugin.so.8",
    "libnvinfer_plugin.so.12",
    "libnvinfer_plugin.so.9",
];

/// The environment variable with a folder, or several with colons between them, in which alone TensorRT is looked for.
pub const FOLDER_VARIABLE: &str = "URETINEX_TENSORRT";

/// TensorRT, as far as it can be seen without making any of its objects.
#[derive(Debug, Clone)]
pub struct TensorRt {
    /// The inference library.
    pub library: SharedLibrary,
    /// The ONNX parser of the same major version.
    pub parser: SharedLibrary,
    /// What the loader said of the plugin library that lies beside the inference library, if it could not be opened.
    pub plugin_refusal: Option<String>,
    /// The version of the inference library.
    pub version: Option<Version>,
    /// The folders that [`FOLDER_VARIABLE`] names; if there are any, nothing was looked for elsewhere.
    pub folders: Vec<PathBuf>,
    functions: Option<Functions>,
}

/// `createInferBuilder_INTERNAL` and `createInferRuntime_INTERNAL`: logger, version → public object.
pub(crate) type Create = unsafe extern "C" fn(*mut c_void, i32) -> *mut c_void;
/// `createNvOnnxParser_INTERNAL`: public network, logger, version → parser.
pub(crate) type CreateParser = unsafe extern "C" fn(*mut c_void, *mut c_void, i32) -> *mut c_void;

/// The plain C functions of the libraries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Functions {
    /// What `getInferLibVersion` told; the factories want it back.
    pub told: i32,
    /// Not in a lean library.
    pub create_builder: Option<Create>,
    pub create_runtime: Option<Create>,
    pub create_parser: Option<CreateParser>,
    pub parser_told: i32,
}

/// TensorRT of a known version, ready to make objects.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) version: Version,
    pub(crate) table: &'static Table,
    pub(crate) functions: Functions,
    /// The file, for messages.
    pub(crate) name: String,
}

/// TensorRT on this machine, looked for once. What is found stays open until the process ends.
pub(crate) fn tensorrt() -> &'static TensorRt {
    static FOUND: OnceLock<TensorRt> = OnceLock::new();
    FOUND.get_or_init(|| {
        let folders = std::env::var_os(FOLDER_VARIABLE).unwrap_or_default();
        TensorRt::look(
            std::env::split_paths(&folders)
                .filter(|f| !f.as_os_str().is_empty())
                .collect(),
        )
    })
}

impl TensorRt {
    /// Looks in `folders` and in their sub-folders `lib`, where NVIDIA's archives have their libraries; without any,
    /// where the dynamic loader looks.
    pub(crate) fn look(folders: Vec<PathBuf>) -> Self {
        let places: Vec<PathBuf> = folders.iter().flat_map(|f| [f.clone(), f.join("lib")]).collect();
        let (library, inference) = open(&places, INFERENCE);
        let mut found = Self {
            library,
            parser: SharedLibrary::not_looked_for(PARSER),
            plugin_refusal: None,
            version: None,
            folders,
            functions: None,
        };
        let (Some(inference), Some(i)) = (
            inference,
            INFERENCE.iter().position(|name| Some(*name) == found.library.found),
        ) else {
            return found;
        };
        // The parser needs the plugin library and the loader knows nothing of our folders, so it is opened beforehand.
        // From 8.x it may be absent or short of cuBLAS; another one that the loader finds by itself may do then.
        let beside = found
            .library
            .path
            .as_ref()
            .and_then(|path| Some(path.parent()?.join(PLUGIN[i])));
        if let Some(plugin) = beside.filter(|path| path.exists()) {
            found.plugin_refusal = load(&plugin).err();
        }
        // A parser of another major version than the inference library's is of no use.
        let (parser, parsing) = open(&places, &PARSER[i..=i]);
        found.parser = parser;
        // SAFETY: `int32_t getInferLibVersion() noexcept`, since TensorRT 5: no arguments, no state, no objects.
        let told = unsafe { symbol::<unsafe extern "C" fn() -> i32>(inference, "getInferLibVersion").map(|ask| ask()) };
        let Ok(told) = told else {
            return found;
        };
        found.version = Some(Version::decode(told));
        // SAFETY: the signatures of these functions, the same in 8.5 to 11.x; the parser's version has no arguments.
        found.functions = Some(unsafe {
            Functions {
                told,
                create_builder: symbol(inference, "createInferBuilder_INTERNAL").map(|s| *s).ok(),
                create_runtime: symbol(inference, "createInferRuntime_INTERNAL").map(|s| *s).ok(),
                create_parser: parsing.and_then(|p| symbol(p, "createNvOnnxParser_INTERNAL").map(|s| *s).ok()),
                parser_told: parsing
                    .and_then(|p| symbol::<unsafe extern "C" fn() -> i32>(p, "getNvOnnxParserVersion").ok())
                    .map_or(0, |ask| ask()),
            }
        });
        found
    }

    /// Where was looked, for messages.
    pub fn searched(&self) -> String {
        match self.folders.as_slice() {
            [] => search_path(),
            folders => {
                let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
                format!("{} ({FOLDER_VARIABLE}) or its sub-folder lib", folders.join(", "))
            }
        }
    }

    /// What cannot be used of TensorRT, with what was looked for and what to do; `None` if all can.
    pub fn lacks(&self) -> Option<String> {
        let searched = self.searched();
        if self.library.found.is_none() {
            let elsewhere = match self.library.missing() {
                Some(missing) if !INFERENCE.contains(&missing) => format!("; the loader misses {missing}"),
                _ => String::new(),
            };
            return Some(format!(
                "no TensorRT: none of {} is in {searched}{elsewhere}; install libnvinfer10 and libnvonnxparsers10 from \
                 NVIDIA's package repository, or name the folder that holds them in {FOLDER_VARIABLE}",
                INFERENCE[..3].join(", "),
            ));
        }
        let Some(version) = self.version else {
            return Some(format!(
                "{} does not tell its version (getInferLibVersion), so it is no TensorRT; install libnvinfer10",
                self.library
            ));
        };
        if Table::of(version).is_none() {
            return Some(format!(
                "TensorRT {version} ({}) is none that this program knows: it takes 8.5, 8.6, 10.x and 11.x; install one \
                 of them, and name its folder in {FOLDER_VARIABLE} if both have to stay",
                self.library
            ));
        }
        if self.parser.found.is_some() {
            return None;
        }
        let parser = self.parser.names.join(", ");
        let refusal = self.parser.refusals.first().map_or("", String::as_str);
        Some(match self.parser.missing() {
            Some(missing) if missing == parser => format!(
                "TensorRT {version} ({}) is there without its ONNX parser: {parser} is not in {searched}; install the \
                 libnvonnxparsers package of the same version",
                self.library
            ),
            _ => {
                let (needs, missing) = match (&self.plugin_refusal, self.parser.missing()) {
                    (Some(plugin), _) => (
                        plugin.as_str(),
                        plugin
                            .split_once(": cannot open")
                            .map_or("what it names", |(name, _)| name),
                    ),
                    (None, missing) => (refusal, missing.unwrap_or("what it names")),
                };
                format!(
                    "the ONNX parser of TensorRT {version}, {parser}, cannot be opened: {needs}; install {missing} and \
                     put its folder on LD_LIBRARY_PATH"
                )
            }
        })
    }
}

impl Library {
    /// TensorRT of this machine, if its version is known and a driver is there. The parser may be absent.
    ///
    /// # Errors
    /// [`ErrorKind::BackendUnavailable`], with what was looked for and what to do.
    pub fn open() -> Result<&'static Library> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
        // Without a working driver TensorRT crashes in its factories: nothing of it is called before.
        let unavailable = |lack: String| Error::new(ErrorKind::BackendUnavailable, lack);
        if let Some(lack) = driver().lacks() {
            return Err(unavailable(lack));
        }
        let found = tensorrt();
        LIBRARY.get_or_init(|| Library::of(found)).as_ref().ok_or_else(|| {
            unavailable(found.lacks().unwrap_or_else(|| {
                format!(
                    "{} lacks the functions of TensorRT; install libnvinfer10",
                    found.library
                )
            }))
        })
    }

    /// What was found, if its version is known. Whether there is a driver is for the caller to know.
    pub(crate) fn of(found: &TensorRt) -> Option<Library> {
        let version = found.version?;
        Some(Library {
            version,
            table: Table::of(version)?,
            functions: found.functions?,
            name: found.library.to_string(),
        })
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &'static [&'static str], found: Option<&'static str>, refusal: &str) -> SharedLibrary {
        SharedLibrary {
            found,
            refusals: vec![refusal.into()],
            ..SharedLibrary::not_looked_for(names)
        }
    }

    #[test]
    fn what_is_lacking_names_library_and_remedy() {
        let eight = Some(Version::decode(8503));
        let absent = "libnvinfer.so.11: cannot open shared object file: No such file or directory";
        let no_parser = "libnvonnxparser.so.8: cannot open shared object file: No such file or directory";
        let no_cublas = "libcublas.so.11: cannot open shared object file: No such file or directory";
        let parsers = &PARSER[2..=2];
        let so8 = Some("libnvinfer.so.8");
        for (library, parser, plugin_refusal, version, parts) in [
            (
                seen(INFERENCE, None, absent),
                seen(PARSER, None, ""),
                None,
                None,
                &["libnvinfer.so.8", "LD_LIBRARY_PATH", FOLDER_VARIABLE][..],
            ),
            (
                seen(INFERENCE, so8, ""),
                seen(parsers, None, no_parser),
                None,
                eight,
                &["8.5.3", "without its ONNX parser", "libnvonnxparser.so.8", "install"],
            ),
            (
                seen(INFERENCE, so8, ""),
                seen(parsers, None, no_cublas),
                None,
                eight,
                &["libnvonnxparser.so.8", "install libcublas.so.11"],
            ),
            (
                seen(INFERENCE, so8, ""),
                seen(
                    parsers,
                    None,
                    "libnvinfer_plugin.so.8: cannot open shared object file: No such file",
                ),
                Some(no_cublas.to_string()),
                eight,
                &["libnvonnxparser.so.8", "install libcublas.so.11"],
            ),
            (
                seen(INFERENCE, Some("libnvinfer.so.9"), ""),
                seen(&PARSER[4..=4], Some("libnvonnxparser.so.9"), ""),
                None,
                Some(Version::decode(9300)),
                &["TensorRT 9.3.0", "8.5, 8.6, 10.x and 11.x"],
            ),
            (
                seen(INFERENCE, Some("libnvinfer.so.12"), ""),
                seen(&PARSER[3..=3], None, ""),
                None,
                Some(Version::decode(120_100)),
                &["TensorRT 12.1.0"],
            ),
            (
                seen(INFERENCE, so8, ""),
                seen(parsers, None, ""),
                None,
                None,
                &["getInferLibVersion"],
            ),
        ] {
            let found = TensorRt {
                library,
                parser,
                plugin_refusal,
                version,
                folders: Vec::new(),
                functions: None,
            };
            let text = found.lacks().unwrap();
            for part in parts {
                assert!(text.contains(part), "no '{part}' in: {text}");
            }
        }
        let whole = TensorRt {
            library: seen(INFERENCE, so8, ""),
            parser: seen(parsers, Some("libnvonnxparser.so.8"), ""),
            plugin_refusal: None,
            version: eight,
            folders: Vec::new(),
            functions: None,
        };
        assert_eq!(whole.lacks(), None);
    }

    #[test]
    fn the_same_place_holds_the_same_version() {
        for names in [INFERENCE, PARSER, PLUGIN] {
            let versions: Vec<_> = names.iter().map(|n| n.rsplit('.').next().unwrap()).collect();
            assert_eq!(versions, ["11", "10", "8", "12", "9"]);
        }
    }

    #[test]
    fn a_folder_that_is_named_is_the_only_one_looked_in() {
        let found = TensorRt::look(vec!["/nowhere".into()]);
        assert!(found.library.found.is_none());
        let lack = found.lacks().unwrap();
        assert!(lack.contains("/nowhere") && lack.contains(FOLDER_VARIABLE), "{lack}");
    }
}
