package tests

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/engine-lite/engine-lite/journal"
)

// journalWriter is the environment variable with which the test binary is a process
// that commits; its value is the journal's path, and "unsynced " in front of it.
const journalWriter = "ENGINE_LITE_TEST_JOURNAL_WRITER"

const countKind = "count"

// writeJournal commits from several goroutines and prints what was acknowledged, each
// time waiting for a line in return, until there is none.
func writeJournal(how string) error {
	path, unsynced := strings.CutPrefix(how, "unsynced ")
	j, err := journal.Open(path, journal.Options{MaxBytes: 32 << 10, Reserve: 256 << 10, NoSync: unsynced})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	answers := bufio.NewScanner(os.Stdin)
	failed := make(chan error)
	for i := range 3 {
		go func() { // ends with the process
			for n := 1; ; n++ {
				var seq uint64
				err := j.Commit(context.Background(), func(tx *journal.Tx) error {
					tx.Put(countKind, strconv.Itoa(i), []byte(strconv.Itoa(n)))
					tx.Put("bulk", fmt.Sprint(i, n%20), make([]byte, 100*(n%30)))
					seq = tx.Append(journal.Event{Type: countKind, ID: strconv.Itoa(i), Action: strconv.Itoa(n)})
					return nil
				})
				mu.Lock()
				if err == nil {
					_, err = fmt.Println(seq, i, n)
				}
				if !answers.Scan() {
					err = io.EOF
				}
				mu.Unlock()
				if err != nil {
					failed <- err
				}
			}
		}()
	}
	if err := <-failed; !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// acknowledged is a commit that has returned.
type acknowledged struct {
	seq    uint64
	writer string
	count  int
}

// recordWrites has a process commit to a journal on a disk, and returns what the disk
// held before and what came then. The acknowledgements stand where they were.
func recordWrites(t *testing.T, how string, commits int) (before []byte, log []blockEvent) {
	t.Helper()
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	command(t, "truncate", "-s", "24M", image)
	command(t, "mkfs.ext4", "-q", "-b", "4096", "-O", "^resize_inode", image)
	before = readFile(t, image)
	f := serveBlockFile(t, slices.Clone(before))
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop", f.path, mnt)
	defer unmount(t, mnt)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), journalWriter+"="+how+filepath.Join(mnt, "journal.db"))
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range commits {
		var a acknowledged
		if !lines.Scan() {
			t.Fatalf("the writer ended: %v", cmd.Wait())
		}
		if _, err := fmt.Sscan(lines.Text(), &a.seq, &a.writer, &a.count); err != nil {
			t.Fatal(err)
		}
		f.note(a)
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return before, slices.Clone(f.log)
}

const (
	sector = 512
	// superblockEnd is where ext4's first superblock ends: its two sectors have one
	// checksum in the second and no copy in ext4's journal, so ext4 itself asks a disk to
	// write them as one. A mount of one that is torn fails.
	superblockEnd = 2048
)

// cutPower changes image, which holds all that was synced, to what a disk may have
// kept of the writes since: any of their sectors.
func cutPower(image []byte, unsynced []blockEvent, random *rand.Rand) {
	keep := []float64{0, 1, 0.5, random.Float64()}[random.IntN(4)]
	for _, w := range unsynced {
		for at, end := 0, 0; at < len(w.data); at = end {
			end = min(at+sector, len(w.data))
			if w.offset < superblockEnd && at == 0 {
				end = min(superblockEnd-int(w.offset), len(w.data))
			}
			if random.Float64() < keep {
				copy(image[w.offset+int64(at):], w.data[at:end])
			}
		}
	}
}

// powerCuts cuts the power at random points, each time from the beginning, and returns
// what is wrong with the journal after each.
func powerCuts(t *testing.T, how string, commits, cuts int) (wrong []string) {
	t.Helper()
	before, log := recordWrites(t, how, commits)
	fs := newDisk(t, "tmpfs", 256)
	random := rand.New(rand.NewPCG(3, uint64(len(log))))
	points := make([]int, cuts)
	for i := range points {
		points[i] = random.IntN(len(log) + 1)
	}
	slices.Sort(points)
	durable, synced, at := slices.Clone(before), 0, 0
	acked := map[string]acknowledged{}
	for _, point := range points {
		for ; at < point; at++ {
			if a, ok := log[at].note.(acknowledged); ok {
				acked[a.writer] = a
			}
			for ; log[at].synced && synced < at; synced++ {
				copy(durable[log[synced].offset:], log[synced].data)
			}
		}
		image := slices.Clone(durable)
		cutPower(image, log[synced:at], random)
		if err := afterPowerLoss(t, fs.dir, image, acked); err != nil {
			wrong = append(wrong, fmt.Sprintf("cut at %d of %d: %v", point, len(log), err))
		}
	}
	return wrong
}

// afterPowerLoss mounts what the disk has kept and looks for what was acknowledged.
// Each image is another file: a loop device that isn't quite gone would be taken
// again, with what it has cached.
func afterPowerLoss(t *testing.T, dir string, image []byte, acked map[string]acknowledged) error {
	t.Helper()
	mnt := filepath.Join(dir, "mnt")
	f, err := os.CreateTemp(dir, "image")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeSparse(f, image), f.Close()); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "-o", "loop", f.Name(), mnt)
	defer unmount(t, mnt)
	path := filepath.Join(mnt, "journal.db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && len(acked) == 0 {
		return nil
	}
	j, err := journal.Open(path, journal.Options{Reserve: -1})
	if err != nil {
		return err
	}
	return errors.Join(holdsAcknowledged(t, j, acked), j.Close())
}

// writeSparse writes an image and leaves out its blocks of zeros, which are most.
func writeSparse(f *os.File, image []byte) error {
	zeros := make([]byte, 64<<10)
	for at := 0; at < len(image); at += len(zeros) {
		block := image[at:min(at+len(zeros), len(image))]
		if bytes.Equal(block, zeros[:len(block)]) {
			continue
		}
		if _, err := f.WriteAt(block, int64(at)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(image)))
}

func holdsAcknowledged(t *testing.T, j *journal.Journal, acked map[string]acknowledged) error {
	t.Helper()
	var wrong []error
	err := j.Check(t.Context(), func(finding string) { wrong = append(wrong, errors.New(finding)) })
	wrong = append(wrong, err)
	counts := map[string]int{}
	wrong = append(wrong, j.View(func(s *journal.Snapshot) error {
		return s.ForEach(countKind, func(key string, value []byte) error {
			n, err := strconv.Atoi(string(value))
			counts[key] = n
			return err
		})
	}))
	for writer, a := range acked {
		if counts[writer] < a.count || j.Newest() < a.seq {
			wrong = append(wrong, fmt.Errorf("commit %d of writer %s, event %d, is lost: there are %d and %d", a.count, writer, a.seq, counts[writer], j.Newest()))
		}
	}
	last := map[string]string{}
	for c := j.Cursor(j.Oldest() - 1); ; {
		e, ok, err := c.Poll()
		if err != nil || !ok {
			wrong = append(wrong, err)
			break
		}
		last[e.ID] = e.Action
	}
	for writer, action := range last {
		if strconv.Itoa(counts[writer]) != action {
			wrong = append(wrong, fmt.Errorf("the events tell %s of writer %s, and the record %d", action, writer, counts[writer]))
		}
	}
	return errors.Join(wrong...)
}

// TestPowerLoss cuts the power of the journal's disk at 200 points of a run.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	cuts := 60
	if long {
		cuts = 200
	}
	for _, w := range powerCuts(t, "", 250, cuts) {
		t.Error(w)
	}
}

// TestPowerLossWithoutSyncs shows that the test above sees what is lost.
func TestPowerLossWithoutSyncs(t *testing.T) {
	t.Parallel()
	if wrong := powerCuts(t, "unsynced ", 250, 20); len(wrong) == 0 {
		t.Error("nothing was lost")
	}
}
