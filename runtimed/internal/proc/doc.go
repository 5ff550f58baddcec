// Package proc looks at processes and signals them, each by its pid and start time, so that nobody else is meant who
// has the pid by then.
package proc
