package request

import (
	"maps"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// ImageManifest is what a container keeps of its image's manifest. A descriptor that has no platform, as those outside
// of an index, gets the one that the image's configuration says.
func ImageManifest(d ocispec.Descriptor, configured ocispec.Platform) *record.ImageManifest {
	p := &configured
	if d.Platform != nil {
		p = d.Platform
	}
	return &record.ImageManifest{
		MediaType: d.MediaType, Digest: d.Digest.String(), Size: d.Size, URLs: slices.Clone(d.URLs),
		Annotations: maps.Clone(d.Annotations), Data: slices.Clone(d.Data), ArtifactType: d.ArtifactType,
		Platform: record.Platform{
			Architecture: p.Architecture, OS: p.OS, OSVersion: p.OSVersion, OSFeatures: slices.Clone(p.OSFeatures),
			Variant: p.Variant,
		},
	}
}
