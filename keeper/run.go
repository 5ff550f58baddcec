package keeper

import (
	"context"
	"log"

	"github.com/engine-lite/engine-lite/keeper/internal/server"
)

// SocketName is the name of the keeper's socket in its directory.
const SocketName = server.SocketName

// Config is the configuration of Run.
type Config struct {
	// Dir is the directory of the keeper's lock, socket, pid file and ledger. Run makes it, with mode 0700. It is
	// best on a tmpfs: after a reboot the ledger is dropped anyway, and the ledger is never synced.
	Dir string
	// Runtimed is the command line of the runtime daemon; its first word is an absolute path. If Runtimed is empty, the
	// keeper starts no runtime daemon.
	Runtimed []string
	// RuntimedLog is the path of the file to which runtimed's stdout and stderr are appended. If it is empty, they are
	// dropped.
	RuntimedLog string
	// Log takes the keeper's messages. It must not be nil.
	Log *log.Logger
}

// Run runs the keeper. It takes the directory's lock, reads the ledger, and serves until ctx ends. Then it ends
// runtimed (SIGTERM, and SIGKILL after 10 seconds), closes all connections and held streams, and returns when all its
// goroutines have ended. Containers run on. Run calls ready once, as soon as the socket answers.
//
// Run makes the process the child subreaper and reaps all children, so nothing else in the process may wait for a
// child. Call it once in a process that does nothing else.
//
// Errors: FailedPrecondition if another keeper has the directory, if the ledger has a newer format, or if the limit of
// open files is too low; InvalidArgument if Runtimed begins with a relative path.
func Run(ctx context.Context, cfg Config, ready func()) error {
	return server.Run(ctx, server.Config(cfg), ready)
}
