package fifo

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// The test reads from the kernel which descriptors the process has.
func TestContainerDescriptors(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	files := openContainer(t, set.Paths())
	for _, file := range []*os.File{files.Stdin, files.Stdout, files.Stderr} {
		if flags := descriptorFlags(t, os.Getpid(), int(file.Fd())); flags&unix.O_CLOEXEC == 0 {
			t.Errorf("%s is not close-on-exec", file.Name())
		}
	}
	cmd := start(t, files, "sleep", "1000")
	pid := cmd.Process.Pid
	for fd, want := range []int{unix.O_RDONLY, unix.O_RDWR, unix.O_RDWR} {
		flags := descriptorFlags(t, pid, fd)
		if flags&(unix.O_ACCMODE|unix.O_NONBLOCK|unix.O_CLOEXEC) != want {
			t.Errorf("descriptor %d has flags %o", fd, flags)
		}
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var ends []string
	for _, entry := range entries { // the test may have inherited other descriptors
		if target, err := os.Readlink(dir + entry.Name()); err == nil && filepath.Dir(target) == set.Dir() {
			ends = append(ends, entry.Name())
		}
	}
	if strings.Join(ends, " ") != "0 1 2" {
		t.Errorf("the process has the FIFOs as %v", ends)
	}
}

func descriptorFlags(t *testing.T, pid, fd int) int {
	t.Helper()
	info, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if text, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseInt(strings.TrimSpace(text), 8, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(flags)
		}
	}
	t.Fatalf("no flags in %q", info)
	return 0
}

// A process whose reader dies gets neither a signal nor an error.
func TestReaderGoneIsNoSIGPIPE(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	reader := openStdout(t, set)
	stdin := openContainer(t, Paths{Stdin: set.Paths().Stdin}).Stdin
	hold, err := OpenHold(set.Paths().Stdin)
	if err != nil {
		t.Fatal(err)
	}
	cmd := start(t, ContainerFiles{
		Stdin:  stdin,
		Stdout: openContainer(t, Paths{Stdout: set.Paths().Stdout}).Stdout,
	}, "sh", "-c", "echo first; read line; echo second && exit 7")
	if _, err := reader.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	hold.Close()
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("the process ended with %v", err)
	}
}

func TestEmptyPathsAreNull(t *testing.T) {
	checkLeaks(t)
	files := openContainer(t, Paths{})
	defer files.Close()
	if all, err := io.ReadAll(files.Stdin); err != nil || len(all) != 0 {
		t.Errorf("stdin: %q, %v", all, err)
	}
	for _, file := range []*os.File{files.Stdout, files.Stderr} {
		if _, err := file.WriteString("x"); err != nil {
			t.Error(err)
		}
	}
	if err := files.Close(); err != nil {
		t.Error(err)
	}
	if err := files.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestOpenContainerRefuses(t *testing.T) {
	set := newSet(t)
	dir := set.Dir()
	file, link, dangling := dir+"/file", dir+"/link", dir+"/dangling"
	if err := errors.Join(
		os.WriteFile(file, nil, 0o600),
		os.Symlink("stdin", link),
		os.Symlink("nothing", dangling),
	); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		is   func(error) bool
	}{
		"relative":  {"stdin", errdefs.IsInvalidArgument},
		"URI":       {"file:///log", errdefs.IsInvalidArgument},
		"not clean": {dir + "/../" + filepath.Base(dir) + "/stdin", errdefs.IsInvalidArgument},
		"file":      {file, errdefs.IsInvalidArgument},
		"link":      {link, errdefs.IsInvalidArgument},
		"dangling":  {dangling, errdefs.IsInvalidArgument},
		"directory": {dir, errdefs.IsInvalidArgument},
		"device":    {os.DevNull, errdefs.IsInvalidArgument},
		"missing":   {dir + "/missing", errdefs.IsNotFound},
		"below":     {dir + "/stdin/below", errdefs.IsFailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			for _, paths := range []Paths{
				{Stdin: c.path},
				{Stdin: set.Paths().Stdin, Stdout: c.path},
				{Stdin: set.Paths().Stdin, Stdout: set.Paths().Stdout, Stderr: c.path},
			} {
				files, err := OpenContainer(t.Context(), paths)
				if err == nil || !c.is(err) || files != (ContainerFiles{}) {
					t.Errorf("open %v: %v, %v", paths, files, err)
				}
			}
			if _, err := OpenHold(c.path); err == nil || !c.is(err) {
				t.Errorf("hold: %v", err)
			}
		})
	}
}

// A symbolic link in the path of the FIFO is allowed: /var/run is one.
func TestOpenContainerFollowsLinksOnTheWay(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	link := set.Dir() + ".link"
	if err := os.Symlink(set.Dir(), link); err != nil {
		t.Fatal(err)
	}
	openContainer(t, Paths{Stdout: link + "/stdout"}).Close()
}

func TestHoldNeedsReader(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	if _, err := OpenHold(set.Paths().Stdin); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("hold without a reader: %v", err)
	}
	files := openContainer(t, Paths{Stdin: set.Paths().Stdin})
	defer files.Close()
	hold, err := OpenHold(set.Paths().Stdin)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	flags := descriptorFlags(t, os.Getpid(), int(hold.Fd()))
	if flags&(unix.O_ACCMODE|unix.O_NONBLOCK|unix.O_CLOEXEC) != unix.O_WRONLY|unix.O_CLOEXEC {
		t.Errorf("flags %o", flags)
	}
}

// Whichever descriptor is the first that the process can't open, all that were opened
// before it are closed.
func TestNoDescriptorsLeft(t *testing.T) {
	set := newSet(t)
	reading := openContainer(t, Paths{Stdin: set.Paths().Stdin})
	defer reading.Close()
	for name, call := range map[string]func() (io.Closer, error){
		"container": func() (io.Closer, error) { return closer(OpenContainer(t.Context(), set.Paths())) },
		"null":      func() (io.Closer, error) { return closer(OpenContainer(t.Context(), Paths{})) },
		"stdout":    func() (io.Closer, error) { return closer(set.OpenStdout(t.Context())) },
		"hold":      func() (io.Closer, error) { return closer(OpenHold(set.Paths().Stdin)) },
		"load":      func() (io.Closer, error) { return closer(loadSet(set.Dir())) },
		"create":    func() (io.Closer, error) { return closer(createSet(set.Dir() + ".new")) },
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			failures := 0
			for free := 0; ; free++ {
				opened, err := withFreeDescriptors(t, free, call)
				if err == nil {
					opened.Close()
					break
				}
				failures++
				if !errdefs.IsResourceExhausted(err) {
					t.Errorf("with %d free descriptors: %v", free, err)
				}
			}
			if failures == 0 {
				t.Error("there was no failure")
			}
			assertEntries(t, filepath.Dir(set.Dir()), "io")
		})
	}
}

// TestOpenStdinWithoutDescriptors is a test of its own, because the opening goes on in a
// goroutine and may fail after OpenStdin has returned.
func TestOpenStdinWithoutDescriptors(t *testing.T) {
	checkLeaks(t)
	set := newSet(t)
	for free := range 8 {
		opened, err := withFreeDescriptors(t, free, func() (io.Closer, error) {
			stdin, err := set.OpenStdin(t.Context())
			if err != nil {
				return nil, err
			}
			return abort{stdin}, nil
		})
		if err == nil {
			opened.Close()
		} else if !errdefs.IsResourceExhausted(err) {
			t.Errorf("with %d free descriptors: %v", free, err)
		}
	}
}

type abort struct{ *Stdin }

func (a abort) Close() error { return a.Abort() }

// removal is a Set as an io.Closer.
type removal struct{ *Set }

func (r removal) Close() error { return r.Remove() }

type nothing struct{}

func (nothing) Close() error { return nil }

func createSet(dir string) (removal, error) {
	set, err := Create(dir, Config{Stdin: true, Stdout: true})
	return removal{set}, err
}

func loadSet(dir string) (nothing, error) {
	_, err := Load(dir)
	return nothing{}, err
}

func closer[C io.Closer](c C, err error) (io.Closer, error) { return c, err }

// withFreeDescriptors runs call while the process can open only so many descriptors.
func withFreeDescriptors(t *testing.T, free int, call func() (io.Closer, error)) (io.Closer, error) {
	t.Helper()
	var plugs []int
	defer func() {
		for _, fd := range plugs {
			unix.Close(fd)
		}
	}()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 100, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	for {
		fd, err := open(os.DevNull, unix.O_RDONLY)
		if err != nil {
			break
		}
		plugs = append(plugs, fd)
	}
	for range free {
		last := len(plugs) - 1
		unix.Close(plugs[last])
		plugs = plugs[:last]
	}
	return call()
}
