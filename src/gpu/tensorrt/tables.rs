//! Where each method lies in the virtual tables of each TensorRT, and the numbers that differ between versions.
//!
//! A slot counts pointers from the start of the virtual table of the class `V…` behind a public object (of the object
//! itself for the parser). Within a version family the classes only append, so a family's table holds for all of it.

use crate::gpu::tensorrt::version::Version;

/// What differs in signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// 8.x: dimensions of 32 bits, given to profiles by value; no memory strategy; a parser with `destroy`.
    Eight,
    /// 10.x: dimensions of 64 bits, given by pointer; a memory strategy for contexts.
    Ten,
    /// 11.x: as 10.x, with a logger that tells its interface first.
    Eleven,
}

#[derive(Debug)]
pub(crate) struct RuntimeSlots {
    pub deserialize_cuda_engine: usize,
    pub get_public: Option<usize>,
    pub get_logger: usize,
    pub set_max_threads: usize,
    pub get_max_threads: usize,
}

#[derive(Debug)]
pub(crate) struct EngineSlots {
    pub get_nb_io_tensors: usize,
    pub get_io_tensor_name: usize,
    pub get_tensor_io_mode: usize,
    pub get_tensor_data_type: usize,
    pub get_tensor_format: usize,
    pub get_nb_optimization_profiles: usize,
    pub create_execution_context: usize,
    /// 8.x alone: later versions take a memory strategy.
    pub create_execution_context_without_device_memory: Option<usize>,
    /// 8.x alone: later contexts know what their shapes need.
    pub get_device_memory_size: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct ContextSlots {
    pub set_input_shape: usize,
    pub set_tensor_address: usize,
    pub get_tensor_shape: usize,
    pub enqueue_v3: usize,
    pub infer_shapes: usize,
    pub set_device_memory: usize,
    pub set_device_memory_v2: Option<usize>,
    pub update_device_memory_size_for_shapes: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct BuilderSlots {
    pub create_network_v2: usize,
    pub create_builder_config: usize,
    pub create_optimization_profile: usize,
    pub build_serialized_network: usize,
    pub get_logger: usize,
    pub set_max_threads: usize,
    pub get_max_threads: usize,
}

#[derive(Debug)]
pub(crate) struct ConfigSlots {
    pub set_flag: usize,
    pub clear_flag: usize,
    pub get_flag: usize,
    pub add_optimization_profile: usize,
    pub set_tactic_sources: usize,
    pub create_timing_cache: usize,
    pub set_timing_cache: usize,
    pub get_timing_cache: usize,
    /// From 10.0 on.
    pub set_progress_monitor: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct NetworkSlots {
    pub get_nb_inputs: usize,
    pub get_input: usize,
    pub get_nb_outputs: usize,
    pub get_output: usize,
}

#[derive(Debug)]
pub(crate) struct TensorSlots {
    pub get_name: usize,
    pub get_dimensions: usize,
    pub set_allowed_formats: usize,
}

#[derive(Debug)]
pub(crate) struct ProfileSlots {
    pub set_dimensions: usize,
    pub is_valid: usize,
}

#[derive(Debug)]
pub(crate) struct MemorySlots {
    pub data: usize,
    pub size: usize,
}

#[derive(Debug)]
pub(crate) struct CacheSlots {
    pub serialize: usize,
}

#[derive(Debug)]
pub(crate) struct ParserSlots {
    pub parse: usize,
    #[cfg(test)]
    pub supports_operator: usize,
    pub get_nb_errors: usize,
    pub get_error: usize,
    pub clear_errors: usize,
    /// `destroy` where there is one, else the deleting destructor: the place of destructors changed within 8.6.
    pub delete: usize,
}

/// `IParserError`, the same in all versions.
#[derive(Debug)]
pub(crate) struct ParserErrorSlots {
    pub code: usize,
    pub desc: usize,
    pub file: usize,
    pub line: usize,
    pub func: usize,
    pub node: usize,
}

/// Numbers that mean something else, or nothing, in another version.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// `NetworkDefinitionCreationFlags`: explicit batch in 8.x, strongly typed in 10.x.
    pub network_flags: u32,
    /// `BuilderFlag::kFP16`, needed for FP16 files where networks are not strongly typed.
    pub flag_fp16: Option<i32>,
    /// `BuilderFlag::kTF32`, on by default.
    pub flag_tf32: i32,
    /// `TacticSources` without cuBLAS and cuDNN, where there is that choice.
    pub tactic_sources: Option<u32>,
    /// Whether several contexts of an engine may use its profile at once.
    pub profiles_are_shared: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// The versions that it is for.
    pub versions: &'static str,
    pub generation: Generation,
    pub runtime: RuntimeSlots,
    pub engine: EngineSlots,
    pub context: ContextSlots,
    pub builder: BuilderSlots,
    pub config: ConfigSlots,
    pub network: NetworkSlots,
    pub tensor: TensorSlots,
    pub profile: ProfileSlots,
    pub memory: MemorySlots,
    pub cache: CacheSlots,
    pub parser: ParserSlots,
    pub parser_error: ParserErrorSlots,
    pub numbers: Numbers,
}

impl Table {
    /// The table for a version, if it is one that this library knows.
    pub fn of(version: Version) -> Option<&'static Table> {
        match (version.major, version.minor) {
            (8, 5) => Some(&V8_5),
            (8, 6) => Some(&V8_6),
            (10, 0) => Some(&V10_0),
            (10, _) => Some(&V10_1),
            (11, _) => Some(&V11),
            _ => None,
        }
    }
}

const PARSER_ERROR: ParserErrorSlots = ParserErrorSlots {
    code: 0,
    desc: 1,
    file: 2,
    line: 3,
    func: 4,
    node: 5,
};

static V8_5: Table = Table {
    versions: "8.5",
    runtime: RuntimeSlots {
        get_public: None,
        ..EIGHT.runtime
    },
    ..EIGHT
};

static V8_6: Table = EIGHT;

const EIGHT: Table = Table {
    versions: "8.6",
    generation: Generation::Eight,
    runtime: RuntimeSlots {
        deserialize_cuda_engine: 2,
        get_public: Some(16),
        get_logger: 9,
        set_max_threads: 10,
        get_max_threads: 11,
    },
    engine: EngineSlots {
        get_nb_io_tensors: 45,
        get_io_tensor_name: 46,
        get_tensor_io_mode: 38,
        get_tensor_data_type: 35,
        get_tensor_format: 41,
        get_nb_optimization_profiles: 22,
        create_execution_context: 11,
        create_execution_context_without_device_memory: Some(13),
        get_device_memory_size: Some(14),
    },
    context: ContextSlots {
        set_input_shape: 29,
        set_tensor_address: 32,
        get_tensor_shape: 30,
        enqueue_v3: 44,
        infer_shapes: 35,
        set_device_memory: 11,
        set_device_memory_v2: None,
        update_device_memory_size_for_shapes: None,
    },
    builder: BuilderSlots {
        create_network_v2: 11,
        create_builder_config: 9,
        create_optimization_profile: 12,
        build_serialized_network: 17,
        get_logger: 19,
        set_max_threads: 20,
        get_max_threads: 21,
    },
    config: ConfigSlots {
        set_flag: 15,
        clear_flag: 14,
        get_flag: 16,
        add_optimization_profile: 29,
        set_tactic_sources: 42,
        create_timing_cache: 44,
        set_timing_cache: 45,
        get_timing_cache: 46,
        set_progress_monitor: None,
    },
    network: NetworkSlots {
        get_nb_inputs: 19,
        get_input: 20,
        get_nb_outputs: 21,
        get_output: 22,
    },
    tensor: TensorSlots {
        get_name: 3,
        get_dimensions: 5,
        set_allowed_formats: 19,
    },
    profile: ProfileSlots {
        set_dimensions: 2,
        is_valid: 9,
    },
    memory: MemorySlots { data: 2, size: 3 },
    cache: CacheSlots { serialize: 2 },
    parser: ParserSlots {
        parse: 0,
        #[cfg(test)]
        supports_operator: 4,
        get_nb_errors: 6,
        get_error: 7,
        clear_errors: 8,
        delete: 5,
    },
    parser_error: PARSER_ERROR,
    numbers: Numbers {
        network_flags: 1,
        flag_fp16: Some(0),
        flag_tf32: 7,
        tactic_sources: Some(0x18),
        profiles_are_shared: false,
    },
};

static V10_0: Table = Table {
    versions: "10.0",
    context: ContextSlots {
        set_device_memory_v2: None,
        ..TEN.context
    },
    ..TEN
};

static V10_1: Table = TEN;

const TEN: Table = Table {
    versions: "10.1 and later 10.x",
    generation: Generation::Ten,
    runtime: RuntimeSlots {
        deserialize_cuda_engine: 3,
        get_public: Some(2),
        get_logger: 11,
        set_max_threads: 12,
        get_max_threads: 13,
    },
    engine: EngineSlots {
        get_nb_io_tensors: 30,
        get_io_tensor_name: 31,
        get_tensor_io_mode: 23,
        get_tensor_data_type: 20,
        get_tensor_format: 26,
        get_nb_optimization_profiles: 10,
        create_execution_context: 5,
        create_execution_context_without_device_memory: None,
        get_device_memory_size: None,
    },
    context: ContextSlots {
        set_input_shape: 21,
        set_tensor_address: 24,
        get_tensor_shape: 22,
        enqueue_v3: 37,
        infer_shapes: 28,
        set_device_memory: 10,
        set_device_memory_v2: Some(49),
        update_device_memory_size_for_shapes: Some(48),
    },
    builder: BuilderSlots {
        create_network_v2: 8,
        create_builder_config: 7,
        create_optimization_profile: 9,
        build_serialized_network: 14,
        get_logger: 16,
        set_max_threads: 17,
        get_max_threads: 18,
    },
    config: ConfigSlots {
        set_flag: 11,
        clear_flag: 10,
        get_flag: 12,
        add_optimization_profile: 25,
        set_tactic_sources: 38,
        create_timing_cache: 40,
        set_timing_cache: 41,
        get_timing_cache: 42,
        set_progress_monitor: Some(56),
    },
    network: NetworkSlots {
        get_nb_inputs: 14,
        get_input: 15,
        get_nb_outputs: 16,
        get_output: 17,
    },
    tensor: TensorSlots {
        get_name: 3,
        get_dimensions: 5,
        set_allowed_formats: 19,
    },
    profile: ProfileSlots {
        set_dimensions: 2,
        is_valid: 9,
    },
    memory: MemorySlots { data: 2, size: 3 },
    cache: CacheSlots { serialize: 2 },
    parser: ParserSlots {
        parse: 0,
        #[cfg(test)]
        supports_operator: 4,
        get_nb_errors: 5,
        get_error: 6,
        clear_errors: 7,
        delete: 9,
    },
    parser_error: PARSER_ERROR,
    numbers: Numbers {
        network_flags: 2,
        flag_fp16: None,
        flag_tf32: 6,
        tactic_sources: Some(0x18),
        profiles_are_shared: true,
    },
};

static V11: Table = Table {
    versions: "11.x",
    generation: Generation::Eleven,
    runtime: RuntimeSlots {
        deserialize_cuda_engine: 3,
        get_public: Some(2),
        get_logger: 10,
        set_max_threads: 11,
        get_max_threads: 12,
    },
    engine: EngineSlots {
        get_nb_io_tensors: 26,
        get_io_tensor_name: 27,
        get_tensor_io_mode: 19,
        get_tensor_data_type: 16,
        get_tensor_format: 22,
        get_nb_optimization_profiles: 8,
        create_execution_context: 5,
        create_execution_context_without_device_memory: None,
        get_device_memory_size: None,
    },
    context: ContextSlots {
        set_input_shape: 20,
        set_tensor_address: 23,
        get_tensor_shape: 21,
        enqueue_v3: 36,
        infer_shapes: 27,
        set_device_memory: 10,
        set_device_memory_v2: Some(48),
        update_device_memory_size_for_shapes: Some(47),
    },
    builder: BuilderSlots {
        create_network_v2: 6,
        create_builder_config: 5,
        create_optimization_profile: 7,
        build_serialized_network: 11,
        get_logger: 13,
        set_max_threads: 14,
        get_max_threads: 15,
    },
    config: ConfigSlots {
        set_flag: 9,
        clear_flag: 8,
        get_flag: 10,
        add_optimization_profile: 23,
        set_tactic_sources: 27,
        create_timing_cache: 29,
        set_timing_cache: 30,
        get_timing_cache: 31,
        set_progress_monitor: Some(45),
    },
    network: NetworkSlots {
        get_nb_inputs: 14,
        get_input: 15,
        get_nb_outputs: 16,
        get_output: 17,
    },
    tensor: TensorSlots {
        get_name: 3,
        get_dimensions: 5,
        set_allowed_formats: 13,
    },
    profile: ProfileSlots {
        set_dimensions: 2,
        is_valid: 7,
    },
    memory: MemorySlots { data: 2, size: 3 },
    cache: CacheSlots { serialize: 2 },
    parser: ParserSlots {
        parse: 0,
        #[cfg(test)]
        supports_operator: 2,
        get_nb_errors: 3,
        get_error: 4,
        clear_errors: 5,
        delete: 7,
    },
    parser_error: PARSER_ERROR,
    numbers: Numbers {
        network_flags: 0,
        flag_fp16: None,
        flag_tf32: 6,
        tactic_sources: None,
        profiles_are_shared: true,
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_versions_have_a_table_and_others_none() {
        for (version, table) in [
            ((7, 2), None),
            ((8, 4), None),
            ((8, 5), Some("8.5")),
            ((8, 6), Some("8.6")),
            ((8, 7), None),
            ((9, 3), None),
            ((10, 0), Some("10.0")),
            ((10, 1), Some("10.1 and later 10.x")),
            ((10, 16), Some("10.1 and later 10.x")),
            ((11, 4), Some("11.x")),
            ((12, 0), None),
        ] {
            let (major, minor) = version;
            let found = Table::of(Version { major, minor, patch: 0 });
            assert_eq!(found.map(|t| t.versions), table, "{version:?}");
        }
    }
}
