package record

import "time"

// Config is what a container runs, as Docker's API has it: the request, with what the image says filled in.
type Config struct {
	Hostname     string
	Domainname   string
	User         string
	AttachStdin  bool
	AttachStdout bool
	AttachStderr bool
	// ExposedPorts are a number and a protocol each, such as 80/tcp.
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Tty          bool
	OpenStdin    bool
	// StdinOnce closes stdin when the first client that had it goes.
	StdinOnce       bool
	Env             []string
	Cmd             []string
	Healthcheck     *HealthConfig `json:",omitempty"`
	ArgsEscaped     bool          `json:",omitempty"`
	Image           string
	Volumes         map[string]struct{}
	WorkingDir      string
	Entrypoint      []string
	NetworkDisabled bool     `json:",omitempty"`
	OnBuild         []string `json:",omitempty"`
	Labels          map[string]string
	StopSignal      string `json:",omitempty"`
	// StopTimeout is in seconds.
	StopTimeout *int     `json:",omitempty"`
	Shell       []string `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}

// HealthConfig is a health check as it was asked for. Zero values are open: see [Record.HealthCheck].
type HealthConfig struct {
	// Test is NONE, or CMD or CMD-SHELL and a command.
	Test          []string      `json:",omitempty"`
	Interval      time.Duration `json:",omitempty"`
	Timeout       time.Duration `json:",omitempty"`
	StartPeriod   time.Duration `json:",omitempty"`
	StartInterval time.Duration `json:",omitempty"`
	Retries       int           `json:",omitempty"`

	Unknown Unknown `json:",embed"`
}
