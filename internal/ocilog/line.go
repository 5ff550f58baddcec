package ocilog

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// The actions on a container.
const (
	Create  = "create"
	Start   = "start"
	Pause   = "pause"
	Unpause = "unpause"
	Exit    = "exit"
	Destroy = "destroy"
)

// Step says how far an action has come.
type Step string

// The steps of an action. Exit has Done only.
const (
	Begun  Step = "begun"
	Done   Step = "done"
	Failed Step = "failed"
)

// Line is one line of a log.
type Line struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action"`
	Step   Step      `json:"step"`
	// Recovered is true if a later command found the step out, since the command
	// that did the action was killed.
	Recovered bool `json:"recovered,omitempty"`
	// Container is set in a create that has begun.
	Container *Container `json:"container,omitempty"`
	// Process is set in a create that is done.
	Process *Process `json:"process,omitempty"`
	// Status is set in an exit: the wait status, as wait(2) has it.
	Status *uint32 `json:"status,omitempty"`
	// End is the offset in bytes behind the line. Parse sets it.
	End int64 `json:"-"`
}

// Container holds what never changes about a container.
type Container struct {
	// Run is a random name, see NewRun. No other container has it, not even a later
	// one with the same id.
	Run string `json:"run"`
	ID  string `json:"id"`
	// Root is the directory of the OCI runtime's state, Runtime the runtime's path.
	Root        string            `json:"root"`
	Runtime     string            `json:"runtime"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// maxLine is the longest line in bytes. The annotations are by far its longest part.
const maxLine = 1 << 20

// Parse returns the complete lines of data. It leaves out a line that can't be
// understood: the part of a line that a killed process has written.
func Parse(data []byte) []Line {
	var lines []Line
	for size := 0; ; {
		end := bytes.IndexByte(data[size:], '\n')
		if end < 0 {
			return lines
		}
		l, ok := parseLine(data[size : size+end])
		size += end + 1
		if ok {
			l.End = int64(size)
			lines = append(lines, l)
		}
	}
}

func parseLine(text []byte) (Line, bool) {
	var l Line
	if len(text) == 0 || len(text) > maxLine || json.Unmarshal(text, &l) != nil {
		return Line{}, false
	}
	return l, l.valid()
}

func (l Line) valid() bool {
	switch {
	case !slices.Contains([]string{Create, Start, Pause, Unpause, Exit, Destroy}, l.Action),
		!slices.Contains([]Step{Begun, Done, Failed}, l.Step):
		return false
	case l.Action == Create && l.Step == Begun:
		return l.Container != nil && l.Container.Run != "" && l.Container.ID != ""
	case l.Action == Create && l.Step == Done:
		return l.Process != nil && l.Process.Pid > 0
	case l.Action == Exit:
		return l.Step == Done && l.Status != nil
	}
	return true
}

// encode returns the bytes of a line. The line break in front ends the part of a
// line that a killed process may have left. Parse skips empty lines.
func (l Line) encode() ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'\n'}, text...), '\n'), nil
}
