package record

// ImageManifest names the manifest that a container is made from: the one of its image that is for one platform. The
// fields are those of an OCI descriptor.
type ImageManifest struct {
	MediaType string
	// Digest is that of the manifest, Size is its length in bytes.
	Digest       string
	Size         int64
	URLs         []string          `json:",omitempty"`
	Annotations  map[string]string `json:",omitempty"`
	Data         []byte            `json:",omitempty"`
	ArtifactType string            `json:",omitempty"`
	Platform     Platform

	Unknown Unknown `json:",embed"`
}

// Platform is the kind of machine that an image is for.
type Platform struct {
	Architecture string
	OS           string
	OSVersion    string   `json:",omitempty"`
	OSFeatures   []string `json:",omitempty"`
	Variant      string   `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}
