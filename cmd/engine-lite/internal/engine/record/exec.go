package record

import "github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"

// Exec is what the journal has of an exec while it runs, so that the next engine takes it up.
type Exec struct {
	// Schema is the version of the stored form.
	Schema    uint `json:",omitzero"`
	ID        string
	Container string
	Pid       int
	Request   ExecRequest

	Unknown Unknown `json:",embed"`
}

// ExecRequest is what a user asks of an exec, as Docker's API has it.
type ExecRequest struct {
	User       string
	Privileged bool
	Tty        bool
	// ConsoleSize is height and width, in characters; nil where the user does not say.
	ConsoleSize  *[2]uint `json:",omitempty"`
	AttachStdin  bool
	AttachStderr bool
	AttachStdout bool
	DetachKeys   string
	Env          []string
	WorkingDir   string
	Cmd          []string

	Unknown Unknown `json:",embed"`
}

// ContainerOfExec returns the id of the container in an exec's record that cannot be read; empty where the record does
// not say.
func ContainerOfExec(raw []byte) string {
	var x struct{ Container string }
	_ = store.Unmarshal(raw, &x) // which sets what can be read
	return x.Container
}
