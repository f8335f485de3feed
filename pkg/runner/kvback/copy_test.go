package kvback_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// TestCopyInUse copies a directory, file by file, while it is written to, as nobody
// should: what opens has what was there at some time, and the rest is refused.
func TestCopyInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	host, err := kvback.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	s, err := openOn(t.Context(), host, kvstore.Options{CacheSize: 8000, RootInterval: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	begun := make(chan struct{})
	writer.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if i == 200 {
				close(begun)
			}
			v := strconv.AppendInt(nil, int64(i), 10)
			if err := s.Table("t").Batch(t.Context(), []kvstore.Op{{Key: fmt.Appendf(nil, "%d", i%50), Value: v}, {Key: []byte("last"), Value: v}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	<-begun
	opened := 0
	for range 10 {
		other := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
			continue // a file went away meanwhile: cp says so
		}
		got, err := content(t.Context(), other)
		if err != nil {
			continue
		}
		opened++
		last, err := strconv.Atoi(got["last"])
		if err != nil || last < 199 || len(got) != 51 {
			t.Errorf("%q is the last one, of %d keys", got["last"], len(got))
			continue
		}
		for i := last - 49; i <= last; i++ {
			if got[strconv.Itoa(i%50)] != strconv.Itoa(i) {
				t.Errorf("%d was the last, and %d is %s", last, i, got[strconv.Itoa(i%50)])
			}
		}
	}
	stop()
	writer.Wait()
	t.Logf("%d of 10 copies opened", opened)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
