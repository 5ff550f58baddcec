// Package criu puts the daemon between an OCI runtime and CRIU, for arguments that the runtime doesn't pass on, and
// holds what a checkpoint needs beside CRIU's images.
package criu
