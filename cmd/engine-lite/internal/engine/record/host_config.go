package record

import "net/netip"

// HostConfig is how a container runs on this host, as Docker's API has it. It has all fields of the API's that are
// shown when they are empty, also those that a request must leave empty: clients tell an empty list from none.
type HostConfig struct {
	Binds           []string `json:",omitzero"`
	ContainerIDFile string   `json:",omitzero"`
	LogConfig       LogConfig
	NetworkMode     NetworkMode
	PortBindings    map[string][]PortBinding `json:",omitzero"`
	RestartPolicy   RestartPolicy
	AutoRemove      bool
	VolumeDriver    string   `json:",omitzero"`
	VolumesFrom     []string `json:",omitzero"`
	// ConsoleSize is height and width, in characters.
	ConsoleSize [2]uint
	Annotations map[string]string `json:",omitempty"`

	CapAdd          []string
	CapDrop         []string
	CgroupnsMode    CgroupnsMode
	DNS             []netip.Addr `json:"Dns"`
	DNSOptions      []string     `json:"DnsOptions"`
	DNSSearch       []string     `json:"DnsSearch"`
	ExtraHosts      []string
	GroupAdd        []string
	IpcMode         IpcMode
	Cgroup          string   `json:",omitzero"`
	Links           []string `json:",omitzero"`
	OomScoreAdj     int
	PidMode         PidMode
	Privileged      bool
	PublishAllPorts bool `json:",omitzero"`
	ReadonlyRootfs  bool
	SecurityOpt     []string
	Tmpfs           map[string]string `json:",omitempty"`
	Mounts          []MountRequest    `json:",omitempty"`
	UTSMode         UTSMode
	UsernsMode      UsernsMode
	// ShmSize is in bytes.
	ShmSize   int64
	Sysctls   map[string]string `json:",omitempty"`
	Runtime   string            `json:",omitempty"`
	Umask     *uint32           `json:",omitempty"`
	Isolation string

	Resources

	// MaskedPaths and ReadonlyPaths take the place of the defaults; nil leaves those.
	MaskedPaths   []string
	ReadonlyPaths []string
	Init          *bool `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// Resources are the limits of a container. What the engine does not know of them is in [HostConfig.Unknown].
type Resources struct {
	CPUShares int64 `json:"CpuShares"`
	// Memory is in bytes, as are the other sizes of memory.
	Memory int64
	// NanoCPUs are 1e-9 CPUs.
	NanoCPUs int64 `json:"NanoCpus"`

	CgroupParent         string           `json:",omitzero"`
	BlkioWeight          uint16           `json:",omitzero"`
	BlkioWeightDevice    []WeightDevice   `json:",omitzero"`
	BlkioDeviceReadBps   []ThrottleDevice `json:",omitzero"`
	BlkioDeviceWriteBps  []ThrottleDevice `json:",omitzero"`
	BlkioDeviceReadIOps  []ThrottleDevice `json:",omitzero"`
	BlkioDeviceWriteIOps []ThrottleDevice `json:",omitzero"`
	// CPUPeriod and CPUQuota are in microseconds.
	CPUPeriod          int64 `json:"CpuPeriod"`
	CPUQuota           int64 `json:"CpuQuota"`
	CPURealtimePeriod  int64 `json:"CpuRealtimePeriod,omitzero"`
	CPURealtimeRuntime int64 `json:"CpuRealtimeRuntime,omitzero"`
	CpusetCpus         string
	CpusetMems         string
	Devices            []DeviceMapping `json:",omitzero"`
	DeviceCgroupRules  []string        `json:",omitzero"`
	DeviceRequests     []DeviceRequest `json:",omitzero"`
	MemoryReservation  int64
	// MemorySwap is memory and swap together; -1 is without bound.
	MemorySwap         int64
	MemorySwappiness   *int64
	OomKillDisable     *bool
	PidsLimit          *int64
	Ulimits            []Ulimit
	CPUCount           int64  `json:"CpuCount,omitzero"`
	CPUPercent         int64  `json:"CpuPercent,omitzero"`
	IOMaximumIOps      uint64 `json:",omitzero"`
	IOMaximumBandwidth uint64 `json:",omitzero"`
}

// LogConfig is where a container's output is logged.
type LogConfig struct {
	Type   string
	Config map[string]string

	Unknown Unknown `json:",embed"`
}

// Ulimit is a limit of the container's processes, by its name without RLIMIT_.
type Ulimit struct {
	Name string
	Hard int64
	Soft int64

	Unknown Unknown `json:",embed"`
}

// PortBinding is a port of the host. The API checks HostIP, which is an address or empty.
type PortBinding struct {
	HostIP   netip.Addr `json:"HostIp"`
	HostPort string

	Unknown Unknown `json:",embed"`
}

// WeightDevice is the weight of a block device.
type WeightDevice struct {
	Path   string
	Weight uint16

	Unknown Unknown `json:",embed"`
}

// ThrottleDevice is the limit of a block device, in bytes or operations per second.
type ThrottleDevice struct {
	Path string
	Rate uint64

	Unknown Unknown `json:",embed"`
}

// DeviceMapping is a device of the host that the container has.
type DeviceMapping struct {
	PathOnHost        string
	PathInContainer   string
	CgroupPermissions string

	Unknown Unknown `json:",embed"`
}

// DeviceRequest asks a device driver for devices.
type DeviceRequest struct {
	Driver string
	// Count is -1 for all.
	Count        int
	DeviceIDs    []string
	Capabilities [][]string
	Options      map[string]string

	Unknown Unknown `json:",embed"`
}
