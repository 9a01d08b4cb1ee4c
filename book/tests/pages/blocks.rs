include!("../../blocks.rs");
