package record

// MountType is where a mount's content comes from.
type MountType string

const (
	MountBind   MountType = "bind"
	MountVolume MountType = "volume"
	MountTmpfs  MountType = "tmpfs"
	MountImage  MountType = "image"
)

// MountRequest is a mount as a user asked for it, as Docker's API has it.
type MountRequest struct {
	Type        MountType
	Source      string `json:",omitempty"`
	Target      string
	ReadOnly    bool           `json:",omitempty"`
	Consistency string         `json:",omitempty"`
	Bind        *BindOptions   `json:",omitempty"`
	Volume      *VolumeOptions `json:",omitempty"`
	Image       *ImageOptions  `json:",omitempty"`
	Tmpfs       *TmpfsOptions  `json:",omitempty"`
	// Cluster tells that the request has options of a cluster volume, which are always empty.
	Cluster bool `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// BindOptions are those of a bind mount.
type BindOptions struct {
	Propagation            string `json:",omitempty"`
	NonRecursive           bool   `json:",omitempty"`
	CreateMountpoint       bool   `json:",omitempty"`
	ReadOnlyNonRecursive   bool   `json:",omitempty"`
	ReadOnlyForceRecursive bool   `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// VolumeOptions are those of a volume's mount.
type VolumeOptions struct {
	NoCopy        bool              `json:",omitempty"`
	Labels        map[string]string `json:",omitempty"`
	Subpath       string            `json:",omitempty"`
	Driver        string            `json:",omitempty"`
	DriverOptions map[string]string `json:",omitempty"`
	// DriverConfig tells that the request has a driver configuration, empty or not: inspect shows it.
	DriverConfig bool `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// ImageOptions are those of an image's mount.
type ImageOptions struct {
	Subpath string `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// TmpfsOptions are those of a tmpfs.
type TmpfsOptions struct {
	// SizeBytes is 0 for the kernel's default.
	SizeBytes int64 `json:",omitempty"`
	// Mode has the permission bits, as chmod(2) has them; 0 for the default.
	Mode    uint32     `json:",omitempty"`
	Options [][]string `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// Mount is one mount of a container, resolved: what the user said, what the image says, and what other containers have,
// put together.
type Mount struct {
	Type MountType
	// Source is the path of the host for a bind, and the image's id for an image; empty for a volume and a tmpfs.
	Source string `json:",omitempty"`
	// Destination is the absolute and clean path in the container.
	Destination string
	// Name is the volume's, or what the user called an image. Driver is the name of the volume's driver.
	Name   string `json:",omitempty"`
	Driver string `json:",omitempty"`
	// Subpath is the part of a volume or an image that is mounted; empty for all of it.
	Subpath string `json:",omitempty"`
	// Mode is what the user wrote behind the last colon of -v, such as "ro,z". Inspect shows it.
	Mode     string `json:",omitempty"`
	ReadOnly bool   `json:",omitempty"`
	// Propagation is that of mount_namespaces(7), such as "rslave"; empty for a volume's default. PropagationAsked
	// tells that the user named it.
	Propagation            string `json:",omitempty"`
	PropagationAsked       bool   `json:",omitempty"`
	NonRecursive           bool   `json:",omitempty"`
	ReadOnlyNonRecursive   bool   `json:",omitempty"`
	ReadOnlyForceRecursive bool   `json:",omitempty"`
	// CreateSource makes a missing source of a bind at the start, as -v does and --mount does not.
	CreateSource bool `json:",omitempty"`
	// CopyUp fills the volume from the image's directory if the volume is empty when the container is made.
	CopyUp bool `json:",omitempty"`
	// Anonymous is a volume that goes with its container where the user asks for that: nobody named it.
	Anonymous bool `json:",omitempty"`
	// Tmpfs are the options of a tmpfs, as mount(8) has them.
	Tmpfs []string `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}
