//! NVIDIA's own libraries, as far as they go without a GPU.
//!
//! They are not part of this repository: `make tensorrt-wheels` puts them in `target/tensorrt`, or
//! `URETINEX_TEST_TENSORRT` names another folder with `lean-11.4` and `full-8.5` in it. Where one is absent the test
//! says so and is skipped.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cpu::operators;
use crate::error::ErrorKind;
use crate::gpu::driver::driver;
use crate::gpu::tensorrt::library::{Library, TensorRt};
use crate::gpu::tensorrt::objects::{Network, ParseError};
use crate::pack::onnx::widen;
use crate::pack::{Pack, Subnetwork, Variant};
use crate::testing::tensorrt as mock;

/// A folder of its own with links to libraries of a wheel, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, wheel: &str, links: &[(&str, &str)]) -> Option<Self> {
        let wheels = std::env::var_os("URETINEX_TEST_TENSORRT")
            .map(PathBuf::from)
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tensorrt"));
        let wheel = wheels.join(wheel);
        if let Some((library, _)) = links.iter().find(|(library, _)| !wheel.join(library).exists()) {
            eprintln!(
                "SKIPPED: no {}; make tensorrt-wheels fetches it",
                wheel.join(library).display()
            );
            return None;
        }
        let folder = std::env::temp_dir().join(format!("uretinex-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let folder = Self(folder);
        for (library, link) in links {
            symlink(wheel.join(library).canonicalize().unwrap(), folder.0.join(link)).unwrap();
        }
        Some(folder)
    }

    fn library(&self) -> &'static Library {
        let found = TensorRt::look(vec![self.0.clone()]);
        Box::leak(Box::new(Library::of(&found).unwrap()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn lean_11_opens_and_refuses_to_work_without_a_driver() {
    let links = [("libnvinfer_lean.so.11", "libnvinfer.so.11")];
    let Some(folder) = Folder::new("lean", "lean-11.4", &links) else {
        return;
    };
    let found = TensorRt::look(vec![folder.0.clone()]);
    assert_eq!(found.version.unwrap().to_string(), "11.4.0");
    let lack = found.lacks().unwrap();
    assert!(
        lack.contains("without its ONNX parser") && lack.contains("libnvonnxparser.so.11"),
        "{lack}"
    );

    let library = folder.library();
    assert_eq!(library.builder().unwrap_err().kind(), ErrorKind::BackendUnavailable);
    match (driver().lacks(), library.runtime()) {
        (None, runtime) => drop(runtime.unwrap()),
        (Some(_), Ok(_)) => panic!("a runtime without a driver"),
        // It returns a null pointer plus an offset, and says why through the logger.
        (Some(_), Err(e)) => {
            assert_eq!(e.kind(), ErrorKind::BackendFailed);
            let text = e.to_string();
            assert!(
                text.contains("no runtime") && text.contains("TensorRT says: "),
                "{text}"
            );
        }
    }
    // The way that the backend takes does not get so far.
    if let Some(lack) = driver().lacks() {
        let e = Library::open().unwrap_err();
        assert_eq!((e.kind(), e.to_string()), (ErrorKind::BackendUnavailable, lack));
    }
}

/// A plugin library of one function: the parser needs no more, and NVIDIA's needs cuBLAS and cuDNN.
fn stub_plugins(folder: &Path) {
    let source = folder.join("plugins.c");
    std::fs::write(
        &source,
        "_Bool initLibNvInferPlugins(void *logger, const char *space) { return 1; }\n",
    )
    .unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libnvinfer_plugin.so.8", "-o"])
        .args([folder.join("libnvinfer_plugin.so.8"), source])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn the_parser_of_8_5_takes_what_our_files_use_and_refuses_rubbish() {
    let names = ["libnvinfer.so.8", "libnvonnxparser.so.8"];
    let Some(folder) = Folder::new("parser", "full-8.5", &names.map(|name| (name, name))) else {
        return;
    };
    stub_plugins(&folder.0);
    let found = TensorRt::look(vec![folder.0.clone()]);
    assert_eq!(found.version.unwrap().to_string(), "8.5.3");
    assert_eq!(found.lacks(), None);
    let library = folder.library();

    mock::library(0);
    let mut network = Network::around(library, mock::network()).unwrap();
    assert!(!network.supports_operator("Frobnicate").unwrap());
    let mut seen = BTreeSet::new();
    for pack in Pack::embedded() {
        let pack = Pack::open(pack).unwrap();
        for variant in [Variant::Fp32, Variant::Fp16] {
            for which in Subnetwork::ALL {
                let onnx = pack.onnx(which, variant).unwrap();
                let mut used = operators(onnx).unwrap();
                if variant == Variant::Fp16 {
                    used.extend(operators(&widen(onnx).unwrap()).unwrap());
                }
                for operator in used {
                    let file = pack.describe(which, variant);
                    assert!(network.supports_operator(&operator).unwrap(), "{operator} in {file}");
                    seen.insert(operator);
                }
            }
        }
    }
    assert!(
        seen.len() > 10
            && ["Conv", "DepthToSpace", "Cast"]
                .iter()
                .all(|operator| seen.contains(*operator)),
        "{seen:?}"
    );

    let pack = Pack::open("lite").unwrap();
    let onnx = pack.onnx(Subnetwork::Restoration, Variant::Fp16).unwrap();
    let rubbish: Vec<u8> = (0..300u32).map(|i| (i * 37 % 251 + 3) as u8).collect();
    for (what, bytes) in [("rubbish", &rubbish[..]), ("cut short", &onnx[..onnx.len() / 2])] {
        let e = network.parse(bytes).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ModelInvalid, "{what}");
        let cause = std::error::Error::source(&e)
            .unwrap()
            .downcast_ref::<ParseError>()
            .unwrap();
        assert_eq!((cause.code, cause.node), (3, -1), "{what}: {cause}");
        assert!(!cause.description.is_empty() && cause.place.1 > 0, "{what}: {cause:?}");
    }

    match (driver().lacks(), library.builder()) {
        (None, builder) => drop(builder.unwrap()),
        (Some(_), Ok(_)) => panic!("a builder without a driver"),
        (Some(_), Err(e)) => assert!(e.to_string().contains("no builder"), "{e}"),
    }
}
