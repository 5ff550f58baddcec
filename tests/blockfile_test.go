package tests

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// blockFile is a file in memory that records all writes and syncs. With a loop device on
// it, it is a disk whose power can be cut at any point afterwards.
type blockFile struct {
	fs.Inode
	path string

	mu   sync.Mutex
	data []byte
	log  []blockEvent
	// refuse is the error of all writes; 0 while they succeed.
	refuse syscall.Errno
}

// blockEvent is a write, a sync, or a note by the test.
type blockEvent struct {
	offset int64
	data   []byte // a write
	synced bool
	note   any
}

const blockFileName = "image"

// serveBlockFile mounts a file system with one file, until the test ends.
func serveBlockFile(t *testing.T, data []byte) *blockFile {
	t.Helper()
	dir := t.TempDir()
	f := &blockFile{path: dir + "/" + blockFileName, data: data}
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "blockfile", MaxWrite: 128 << 10},
		OnAdd: func(ctx context.Context) {
			root.AddChild(blockFileName, root.NewPersistentInode(ctx, f, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unlooped(t, dir)
		if err := server.Unmount(); err != nil {
			t.Error(err)
		}
		server.Wait()
	})
	return f
}

var (
	_ fs.NodeStatfser  = (*blockFile)(nil)
	_ fs.NodeGetattrer = (*blockFile)(nil)
	_ fs.NodeSetattrer = (*blockFile)(nil)
	_ fs.NodeOpener    = (*blockFile)(nil)
	_ fs.NodeReader    = (*blockFile)(nil)
	_ fs.NodeWriter    = (*blockFile)(nil)
	_ fs.NodeFsyncer   = (*blockFile)(nil)
)

func (f *blockFile) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Blocks, out.Bfree, out.Bavail = 4096, 1<<20, 1<<20, 1<<20
	return 0
}

func (f *blockFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Mode, out.Size = 0o600, uint64(len(f.data))
	return 0
}

func (f *blockFile) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f.mu.Lock()
		if grow := int(size) - len(f.data); grow > 0 {
			f.data = append(f.data, make([]byte, grow)...)
		}
		f.data = f.data[:size]
		f.mu.Unlock()
	}
	return f.Getattr(ctx, h, out)
}

func (f *blockFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *blockFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fuse.ReadResultData(dest[:copy(dest, f.data[min(off, int64(len(f.data))):])]), 0
}

func (f *blockFile) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != 0 {
		return 0, f.refuse
	}
	if grow := int(off) + len(data) - len(f.data); grow > 0 {
		f.data = append(f.data, make([]byte, grow)...)
	}
	copy(f.data[off:], data)
	f.log = append(f.log, blockEvent{offset: off, data: append([]byte{}, data...)})
	return uint32(len(data)), 0
}

func (f *blockFile) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, blockEvent{synced: true})
	return 0
}

// note records what the test knows at this moment.
func (f *blockFile) note(what any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, blockEvent{note: what})
}

// setRefuse makes all writes fail from now on, or succeed again.
func (f *blockFile) setRefuse(err syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

// readFile reads a whole file.
func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
