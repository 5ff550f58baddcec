package inspect

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// imageManifest is nil where the record does not have the manifest.
func imageManifest(m *record.ImageManifest) *ocispec.Descriptor {
	if m == nil {
		return nil
	}
	return &ocispec.Descriptor{
		MediaType: m.MediaType, Digest: digest.Digest(m.Digest), Size: m.Size, URLs: slices.Clone(m.URLs),
		Annotations: maps.Clone(m.Annotations), Data: slices.Clone(m.Data), ArtifactType: m.ArtifactType,
		Platform: &ocispec.Platform{
			Architecture: m.Platform.Architecture, OS: m.Platform.OS, OSVersion: m.Platform.OSVersion,
			OSFeatures: slices.Clone(m.Platform.OSFeatures), Variant: m.Platform.Variant,
		},
	}
}
