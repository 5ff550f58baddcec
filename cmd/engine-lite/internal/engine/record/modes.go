package record

import "strings"

// The modes of a container's namespaces: empty for the default, "host", "container:ID" for those of another container,
// and others that the engine refuses or that request lists.
type (
	NetworkMode  string
	IpcMode      string
	PidMode      string
	UTSMode      string
	UsernsMode   string
	CgroupnsMode string
)

// IsHost tells whether the container has the host's network.
func (m NetworkMode) IsHost() bool { return m == "host" }

// IsNone tells whether the container has a loopback interface only, because the user wants that.
func (m NetworkMode) IsNone() bool { return m == "none" }

// IsHost tells whether the container has the host's IPC namespace.
func (m IpcMode) IsHost() bool { return m == "host" }

// IsNone tells whether the container has an IPC namespace of its own, and no /dev/shm.
func (m IpcMode) IsNone() bool { return m == "none" }

// Container is the id of the container whose IPC namespace is shared; empty for none.
func (m IpcMode) Container() string { return containerOf(string(m)) }

// ShmOnHost tells whether the container's /dev/shm is mounted in the container's directory on the host before a run:
// others can share it, or it is shared.
func (h *HostConfig) ShmOnHost() bool {
	_, own := h.Tmpfs["/dev/shm"]
	return !own && (h.IpcMode == "shareable" || h.IpcMode.Container() != "")
}

// IsHost tells whether the container has the host's PID namespace.
func (m PidMode) IsHost() bool { return m == "host" }

// Container is the id of the container whose PID namespace is shared; empty for none.
func (m PidMode) Container() string { return containerOf(string(m)) }

// RunsInit tells whether the container's first process is an init that its command runs below. As in Docker, a
// container in a PID namespace of others has none: that namespace has a first process.
func (h *HostConfig) RunsInit() bool {
	return h.Init != nil && *h.Init && !h.PidMode.IsHost() && h.PidMode.Container() == ""
}

func containerOf(mode string) string {
	id, ok := strings.CutPrefix(mode, OfContainer)
	if !ok {
		return ""
	}
	return id
}

// OfContainer is what a mode begins with that shares a namespace of another container. The container's id follows.
const OfContainer = "container:"

// IsHost tells whether the container has the host's name.
func (m UTSMode) IsHost() bool { return m == "host" }

// RestartPolicy says which ends of a container are followed by a start.
type RestartPolicy struct {
	Name RestartPolicyMode
	// MaximumRetryCount is for on-failure; 0 is without bound.
	MaximumRetryCount int

	Unknown Unknown `json:",embed"`
}

// RestartPolicyMode is the name of a restart policy; empty is no.
type RestartPolicyMode string

// The restart policies.
const (
	RestartNever         RestartPolicyMode = "no"
	RestartAlways        RestartPolicyMode = "always"
	RestartOnFailure     RestartPolicyMode = "on-failure"
	RestartUnlessStopped RestartPolicyMode = "unless-stopped"
)

// IsNone tells whether nothing is started again.
func (p RestartPolicy) IsNone() bool { return p.Name == RestartNever || p.Name == "" }
