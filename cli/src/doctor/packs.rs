//! The model packs in the library.

use uretinex::Pack;

use super::Finding::{self, Broken, Here};

pub fn findings() -> Vec<Finding> {
    let mut findings: Vec<_> = Pack::embedded()
        .map(|name| match Pack::open(name) {
            Ok(pack) => {
                let m = pack.manifest();
                let thousands = m.mac_per_pixel / 1e3;
                Here(format!(
                    "{name} {}: {} ({thousands:.0} k multiplications per pixel)",
                    m.version, m.description
                ))
            }
            Err(e) => Broken(
                format!("{name}: {e}"),
                "build uretinex again from a clean checkout".into(),
            ),
        })
        .collect();
    if findings.is_empty() {
        findings.push(Broken(
            "none is built in".into(),
            "give --model the folder of a pack (training/README.md says how to make one), or build from a release"
                .into(),
        ));
    } else if let Ok(pack) = Pack::open("auto") {
        findings.push(Here(format!("auto: is {}", pack.manifest().name)));
    }
    findings
}
