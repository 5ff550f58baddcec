// Package statefile reads and writes the small files below the daemon's root, each as a whole or not at all.
package statefile
