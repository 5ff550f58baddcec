package engine

import "fmt"

// classed is an error with a class of github.com/containerd/errdefs whose text
// is only what the user has to know.
type classed struct {
	text  string
	class error
}

func (e *classed) Error() string { return e.text }
func (e *classed) Unwrap() error { return e.class }

// refuse makes an error of a class.
func refuse(class error, format string, args ...any) error {
	return &classed{text: fmt.Sprintf(format, args...), class: class}
}
