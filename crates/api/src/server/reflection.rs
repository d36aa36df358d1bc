//! gRPC reflection: a person can call every method with `grpcurl` and without proto files.

use tonic_reflection::server::{Builder, v1, v1alpha};

/// The descriptors of all served services and of the details of their errors: without those of google.rpc, `grpcurl` shows
/// the details as base64.
pub(super) const DESCRIPTOR_SETS: [&[u8]; 5] = [
    crate::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// Makes the reflection services in both versions: grpcurl asks v1 first, older tools know only v1alpha.
pub(super) fn services() -> (
    v1::ServerReflectionServer<impl v1::ServerReflection>,
    v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>,
) {
    let builder = || {
        DESCRIPTOR_SETS.iter().fold(
            Builder::configure().include_reflection_service(false),
            |builder, set| builder.register_encoded_file_descriptor_set(set),
        )
    };
    let valid = "sets made at build time are valid";
    (
        builder().build_v1().expect(valid),
        builder().build_v1alpha().expect(valid),
    )
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    #[test]
    fn every_import_of_every_registered_file_is_registered_too() {
        let mut files = vec![];
        for set in super::DESCRIPTOR_SETS {
            files.extend(FileDescriptorSet::decode(set).unwrap().file);
        }
        let names: Vec<_> = files.iter().map(|file| file.name().to_owned()).collect();
        for file in &files {
            for import in &file.dependency {
                assert!(names.contains(import), "{} imports {import}", file.name());
            }
        }
        let _ = super::services();
    }
}
