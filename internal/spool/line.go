package spool

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// The actions of lines.
const (
	Create  = "create"
	Start   = "start"
	Pause   = "pause"
	Unpause = "unpause"
	Exit    = "exit"
	Destroy = "destroy"
)

// Step is how far an action has come.
type Step string

// The steps. Exit has Done only.
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
	// Recovered says that it was found out afterwards.
	Recovered bool `json:"recovered,omitempty"`
	// Container comes with the begun create.
	Container *Container `json:"container,omitempty"`
	// Process comes with the create that is done.
	Process *Process `json:"process,omitempty"`
	// Status is the raw wait status of an exit.
	Status *uint32 `json:"status,omitempty"`
	// End is where the line ends, in bytes; Parse sets it.
	End int64 `json:"-"`
}

// Container is what does not change about a container.
type Container struct {
	// Run is random, and no other container's, whatever their ids.
	Run string `json:"run"`
	ID  string `json:"id"`
	// Root is where the OCI runtime keeps its state, Runtime its path.
	Root        string            `json:"root"`
	Runtime     string            `json:"runtime"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// maxLine bounds a line in bytes; the annotations are by far the longest part.
const maxLine = 1 << 20

// Parse reads the whole lines of data. A line that makes no sense is the rest of a
// write whose process was killed: it is left out.
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

// encode makes a line's bytes. The line break before it ends what a killed
// writer may have left of another line; a reader takes no empty line for one.
func (l Line) encode() ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{'\n'}, text...), '\n'), nil
}
