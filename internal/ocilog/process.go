package ocilog

import "github.com/engine-lite/engine-lite/internal/pidfd"

// Process is the init process of a container.
type Process = pidfd.Process

// Held returns the key under which the keeper holds the process of a container.
func Held(run string) string { return HeldPrefix + run }

// HeldPrefix begins the keys of the processes of all containers with a log.
const HeldPrefix = "oci/"
