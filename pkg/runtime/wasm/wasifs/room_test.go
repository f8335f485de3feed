package wasifs

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// TestRoom: who writes is told that there is no room, not who closes; what was there stays,
// and all of it can be deleted.
func TestRoom(t *testing.T) {
	s, err := kvstore.OpenMemory(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	tb := s.Table("files")
	q, err := s.SetQuota(t.Context(), 200_000, tb)
	if err != nil {
		t.Fatal(err)
	}
	room := func() int64 {
		used, limit := q.Used()
		return int64(limit) - int64(used)
	}
	f, err := Open(t.Context(), tb, room)
	if err != nil {
		t.Fatal(err)
	}
	v := f.View(func(int) {})
	empty, _ := q.Used()
	writeFile(t, v, "old", strings.Repeat("o", 50_000))
	file, errno := v.OpenFile("new", sys.O_RDWR|sys.O_CREAT, 0o600)
	must(t, errno)
	written := 0
	for ; errno == 0; written++ {
		_, errno = file.Write(make([]byte, 1000))
	}
	if errno != ENOSPC || v.TakeErrno() != 51 || v.TakeErrno() != 0 || written < 100 {
		t.Errorf("%v after %d writes", errno, written)
	}
	if _, errno := file.Pwrite([]byte("over"), 10); errno != 0 {
		t.Errorf("what needs no room: %v", errno)
	}
	if _, errno := file.Pwrite([]byte("x"), MaxFile); errno != EFBIG || v.TakeErrno() != 22 {
		t.Error(errno)
	}
	must(t, file.Close())
	if st, errno := v.Stat("new"); errno != 0 || st.Size < int64(written-1)*1000 {
		t.Errorf("%d bytes, %v", st.Size, errno)
	}
	for i := range 1000 { // until no name fits any more
		if errno = v.Mkdir(fmt.Sprint(i), 0o700); errno != 0 {
			break
		}
	}
	if errno != ENOSPC {
		t.Errorf("directories without end: %v", errno)
	}
	if errno := v.Rename("old", strings.Repeat("long", 50)); errno != ENOSPC {
		t.Errorf("a longer name: %v", errno)
	}
	if got := readFile(t, v, "old"); got != strings.Repeat("o", 50_000) {
		t.Errorf("what was there: %.20q", got)
	}
	must(t, v.Unlink("new"))
	if f.reserved != 0 {
		t.Errorf("%d bytes are reserved", f.reserved)
	}
	writeFile(t, v, "old", strings.Repeat("n", 100_000))
	must(t, v.Unlink("old"))
	for i := range 1000 {
		if v.Rmdir(fmt.Sprint(i)) != 0 {
			break
		}
	}
	if used, _ := q.Used(); used != empty {
		t.Errorf("%d bytes are left, there were %d", used, empty)
	}
}
