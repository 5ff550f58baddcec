// Package ocispec reads, checks and changes the OCI specs of containers: what is needed of them, a sandbox's
// namespaces, single values.
package ocispec
