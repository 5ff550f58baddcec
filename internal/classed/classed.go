// Package classed makes errors that have a class of github.com/containerd/errdefs and a text without the name of the
// class. They are for texts that a user reads whole: fmt.Errorf with %w would add the class's own words.
package classed

import "fmt"

// Class is a class of errdefs: errdefs.ErrNotFound and its like.
type Class interface {
	error
	// WithMessage returns an error of the class with that text.
	WithMessage(text string) error
}

// Errorf returns an error of a class whose text is what fmt.Sprintf makes. errors.Is and errdefs find the class. The
// error wraps nothing else: %w is not for it.
func Errorf(class Class, format string, args ...any) error {
	return class.WithMessage(fmt.Sprintf(format, args...))
}
