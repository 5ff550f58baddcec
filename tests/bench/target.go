package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// A target is an engine or a bare runtime. Its methods are called one at a time.
type target interface {
	name() string
	// runtime is the OCI runtime below it, whose bare figures are its ratio's base.
	runtime() string
	// open starts the target, and returns when it is ready.
	open(ctx context.Context) error
	// close stops the target, and returns when its processes are gone.
	close(ctx context.Context) error
	// version is the version that the target reports. It is called while the target is open.
	version(ctx context.Context) (string, error)
}

// targetKind is a target that can be asked for.
type targetKind struct {
	name string
	must bool // the short form fails without it
	rare bool // only when asked for
	make func(o *options, p *place) target
}

var targetKinds = []targetKind{
	{name: "runc", must: true, make: func(_ *options, p *place) target { return newBare("runc", p) }},
	{name: "crun", must: true, make: func(_ *options, p *place) target { return newBare("crun", p) }},
	{name: "engine-lite+runc", must: true,
		make: func(o *options, p *place) target { return newEngineLite(o, p, "runc", "") }},
	{name: "engine-lite+crun", must: true,
		make: func(o *options, p *place) target { return newEngineLite(o, p, "crun", "") }},
	{name: "engine-lite+containerd-1.6",
		make: func(o *options, p *place) target { return newEngineLite(o, p, "runc", "/usr/bin/containerd") }},
	{name: "engine-lite+containerd-2.4", make: func(o *options, p *place) target {
		return newEngineLite(o, p, "runc", filepath.Join(o.work, ".cache/containerd-2.4/containerd"))
	}},
	{name: "docker-20.10", make: func(o *options, p *place) target {
		return newDocker(p, filepath.Join(o.work, ".cache/docker-debian/dockerd"), "/usr/bin")
	}},
	{name: "docker-newest", rare: true, make: func(o *options, p *place) target {
		return newDocker(p, filepath.Join(o.work, ".cache/dockerd-newest/dockerd"),
			filepath.Join(o.work, ".cache/containerd-2.4"))
	}},
}

func targetNames() []string {
	var names []string
	for _, k := range targetKinds {
		names = append(names, k.name)
	}
	return names
}

// kindNamed returns the kind with that name.
func kindNamed(name string) targetKind {
	return targetKinds[slices.IndexFunc(targetKinds, func(k targetKind) bool { return k.name == name })]
}

// wanted is true if a target is to be measured.
func (o *options) wanted(k targetKind) bool {
	switch {
	case len(o.targets) > 0:
		return contains(o.targets, k.name)
	case o.short:
		return k.must
	default:
		return !k.rare || o.newest
	}
}

// place is the directories of a target, and what all targets share.
type place struct {
	target string
	disk   string // an empty directory on the disk
	run    string // an empty directory in memory, with a short path: a socket's may have 108 bytes
	*shared
}

// shared is what all targets share.
type shared struct {
	image    *rootfs
	template *template // what bare runtimes need
}

func (p *place) name() string { return p.target }

// socket is where an engine listens.
func (p *place) socket() string { return filepath.Join(p.run, "e.sock") }

// cgroup is the parent of the control groups of a target's containers, if the target lets
// one choose it.
func (p *place) cgroup() string { return "/" + filepath.Base(filepath.Dir(p.disk)) + "-" + p.target }

// notRun is something that could not be measured in each round.
type notRun struct {
	Target string `json:"target"`
	Row    string `json:"row,omitempty"`
	Why    string `json:"why"`   // of the first failure
	Times  int    `json:"times"` // in how many rounds
	must   bool
}

func (n notRun) String() string {
	text := n.Target
	if n.Row != "" {
		text += ", " + n.Row
	}
	text += ": " + n.Why
	if n.Times > 1 {
		text += fmt.Sprintf(" (%d times)", n.Times)
	}
	return text
}
