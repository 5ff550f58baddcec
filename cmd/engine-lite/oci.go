package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// ociCommand is the OCI runtime command line: the program engine-lite-oci, which
// lies beside this one, takes its place.
func ociCommand() *cobra.Command {
	return &cobra.Command{
		Use: "oci", Short: "an OCI runtime's command line, whose containers are in the engine's events",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			path := filepath.Join(filepath.Dir(self), "engine-lite-oci")
			err = unix.Exec(path, append([]string{path}, args...), os.Environ())
			return fmt.Errorf("cannot run %s: %w", path, err)
		},
	}
}
