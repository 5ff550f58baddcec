package core

// undo is a stack of steps that take back what was done so far.
type undo struct {
	steps []func()
}

func (u *undo) add(step func()) {
	u.steps = append(u.steps, step)
}

// unless runs the steps, last first, if *err is an error.
func (u *undo) unless(err *error) {
	if *err == nil {
		return
	}
	for len(u.steps) > 0 {
		last := len(u.steps) - 1
		u.steps[last]()
		u.steps = u.steps[:last]
	}
}
