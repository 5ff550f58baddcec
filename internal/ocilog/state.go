package ocilog

// State is the state of a container by its log. The zero value is a container whose
// creation has not begun.
type State struct {
	Container Container
	Process   Process
	Created   bool
	Started   bool
	Paused    bool
	Exited    bool
	Destroyed bool
	// Pending is the action that has begun and whose end is not in the log; empty for none.
	Pending string
}

// Add changes the state by one more line.
func (s *State) Add(l Line) {
	switch l.Step {
	case Begun:
		s.Pending = l.Action
		if l.Container != nil {
			s.Container = *l.Container
		}
		return
	case Failed:
		s.Pending = ""
		return
	case Done:
	}
	if l.Action == s.Pending {
		s.Pending = ""
	}
	switch l.Action {
	case Create:
		s.Created, s.Process = true, *l.Process
	case Start:
		s.Started = true
	case Pause:
		s.Paused = true
	case Unpause:
		s.Paused = false
	case Exit:
		s.Exited = true
	case Destroy:
		s.Destroyed = true
	}
}

// Exists reports whether the container exists or may exist.
func (s *State) Exists() bool { return s.Container.Run != "" && !s.Destroyed }

func stateOf(data []byte) State {
	var s State
	for _, line := range Parse(data) {
		s.Add(line)
	}
	return s
}
