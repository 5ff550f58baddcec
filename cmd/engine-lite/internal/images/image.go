package images

import (
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Image is what the store derived from one image for this machine's platform.
// Values are shared with the store's cache: callers don't write to their slices and
// maps.
type Image struct {
	// ID is the digest of the configuration, which is what Docker shows as
	// the image's id.
	ID digest.Digest
	// Names are the familiar name:tag references of the image, sorted.
	Names []string
	// Digests are the familiar name@digest references of the image, sorted.
	Digests []string
	// Target is the index or manifest that the image's record names.
	Target ocispec.Descriptor
	// Manifest is the manifest chosen for this platform.
	Manifest ocispec.Descriptor
	// Layers are the layer blobs, bottom first, in step with
	// Config.RootFS.DiffIDs.
	Layers []ocispec.Descriptor
	// Content are the blobs of the image that were here when the image was read, Target among them, each once.
	Content []ocispec.Descriptor
	// Config is the image's configuration with Docker's additions.
	Config dockerspec.DockerOCIImage
	// ChainID names the snapshot of all layers; it is empty for an image
	// without layers (OCI image specification, "Layer ChainID").
	ChainID digest.Digest
	// Updated is when the image last got a name.
	Updated time.Time
}

// LoadedImage is one image that Load found in an archive.
type LoadedImage struct {
	// ID is the image's id.
	ID digest.Digest
	// Names are the familiar references that the archive gave it, if any.
	Names []string
}

// Use is one container's use of an image.
type Use struct {
	// ContainerID is the full id of the container.
	ContainerID string
	// Running is true for a running container: not even force removes its image.
	Running bool
}

// PruneOptions say which images Prune removes. None that a container uses is among them.
type PruneOptions struct {
	// All adds the images that have names to those without one.
	All bool
	// Until keeps what the store has got, or what has lost its name, at that time or later; zero for no such bound.
	Until time.Time
	// Keep tells by an image's labels whether the image stays; nil for no.
	Keep func(labels map[string]string) bool
	// InUse is RemoveOptions.InUse.
	InUse func(id digest.Digest) []Use
	// Asked are the names by which users asked for the images of containers. They stay.
	Asked []string
	// Removed is called after each name that was removed, with the id of its image and the changes in Docker's terms.
	// Its error is one of Prune's.
	Removed func(id digest.Digest, changes []image.DeleteResponse) error
}

// Auth is what a user gave to log in to one registry: Docker's
// X-Registry-Auth, decoded.
type Auth struct {
	// Username and Password are sent as basic credentials or exchanged for a
	// token, as the registry asks.
	Username, Password string
	// IdentityToken is an OAuth2 refresh token; it goes before a password.
	IdentityToken string
	// RegistryToken is a bearer token that is sent as it is.
	RegistryToken string
}

// ImportOptions are the options of Import.
type ImportOptions struct {
	// Reference names the image ("name" or "name:tag"); empty leaves it
	// without a name.
	Reference string
	// Message is the comment of its one history entry.
	Message string
	// Changes are Dockerfile instructions that are applied to its
	// configuration: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD,
	// STOPSIGNAL, USER, VOLUME and WORKDIR.
	Changes []string
	// Platform is "os/arch[/variant]"; empty is this machine's.
	Platform string
}

// PullOptions are the options of Pull.
type PullOptions struct {
	// Auth is nil for an anonymous pull.
	Auth *Auth
	// Platform is "os/arch[/variant]"; empty is this machine's. One that this
	// machine can't run is refused.
	Platform string
}

// RemoveOptions are the options of Remove.
type RemoveOptions struct {
	// Force removes an image that has several names, or that a stopped
	// container uses.
	Force bool
	// InUse returns the uses of the image with this id; nil means there are none.
	// It is called without a lock held and must not call the store.
	InUse func(id digest.Digest) []Use
}

// ListOptions are the filters of List; an image has to pass all of them.
type ListOptions struct {
	// References are patterns as path.Match knows them, over familiar names
	// with or without the tag; one of them has to match.
	References []string
	// Labels are "key" or "key=value"; all of them have to match.
	Labels []string
	// Dangling, if set, keeps only images without (true) or with (false) a name.
	Dangling *bool
	// Before and Since are image references: only images created before or
	// after these are kept.
	Before, Since string
	// SharedSize has the bytes measured that an image shares with others; without, SharedSize is -1.
	SharedSize bool
}
