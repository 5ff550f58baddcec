package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

// content reads a file.
func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestWrite replaces a file in each way, also where a kill has left a longer draft.
func TestWrite(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(string, []byte, os.FileMode) error{"plain": Write, "synced": WriteSynced} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path+Suffix, []byte("half of something long"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"one", "", "three"} {
				if err := write(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if got := content(t, path); got != text {
					t.Errorf("the file has %q, want %q", got, text)
				}
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(entries) != 1 || entries[0].Name() != "file" {
				t.Errorf("the directory has %v, %v", entries, err)
			}
		})
	}
}

// TestCreate goes on with a file that it has made, and sees that it replaced the old one.
func TestCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	file, err := Create(path, []byte("new"), 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(" and more"); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "new and more" {
		t.Errorf("the file has %q", got)
	}
	text := make([]byte, 8)
	if n, err := old.Read(text); err != nil || string(text[:n]) != "old" {
		t.Errorf("the old file has %q, %v", text[:n], err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("the file's mode: %v, %v", info.Mode(), err)
	}
}

// TestFaults cannot write, or not give the file its name. The old one stays, and no draft does.
func TestFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := Write(filepath.Join(dir, "no", "file"), nil, 0o600); !os.IsNotExist(err) {
		t.Errorf("a missing directory: %v", err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "by", "a", "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteSynced(taken, []byte("text"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := os.Lstat(taken + Suffix); !os.IsNotExist(err) {
		t.Errorf("the draft: %v", err)
	}
	precious, path := filepath.Join(dir, "precious"), filepath.Join(dir, "file")
	if err := os.WriteFile(precious, []byte("words"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, path+Suffix); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("text"), 0o600); err == nil {
		t.Error("a symbolic link was followed")
	}
	if got := content(t, precious); got != "words" {
		t.Errorf("the link's file has %q", got)
	}
}
