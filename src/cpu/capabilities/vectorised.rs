//! One source per function, compiled once for each width of the processor's vectors.

/// Makes `$name(capabilities, …)` call `$body(…)`, an `#[inline(always)]` function, compiled for the widest vectors
/// among the capabilities.
///
/// The compiler finds the vectors itself. Closures that are not inlined into the body are compiled without them.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(capabilities: $crate::cpu::capabilities::Capabilities, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::cpu::capabilities::Extensions;

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                fn vectors_512($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn vectors_256($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                if capabilities.has(Extensions::VECTORS_512) {
                    // SAFETY: the processor has what its capabilities say.
                    return unsafe { vectors_512($($arg),*) };
                }
                if capabilities.has(Extensions::VECTORS_256) {
                    // SAFETY: as above.
                    return unsafe { vectors_256($($arg),*) };
                }
            }
            let _ = capabilities;
            $body($($arg),*)
        }
    };
}
pub(crate) use vectorised;
