// Package cgroup knows the control groups of containers, of version 1 and 2: where they are, what they count, their
// freezer, which controllers there are, and how they are removed.
package cgroup
