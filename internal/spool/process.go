package spool

import "github.com/engine-lite/engine-lite/internal/pidfd"

// Process is the init process of a container.
type Process = pidfd.Process

// Held is the key under which the keeper holds the process of a container.
func Held(run string) string { return HeldPrefix + run }

// HeldPrefix begins the keys of processes of the spool's containers.
const HeldPrefix = "oci/"
