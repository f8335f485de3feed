package kvback_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
)

// childEnv makes the test binary the process that is killed: the directory, and what
// each writer knows to be acknowledged.
const childEnv = "EOS_KVBACK_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir, strings.Fields(os.Getenv(childEnv+"_ACKS"))); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	killWriters = 16
	killKeys    = 10 // of each writer, used in turn
)

func killKey(writer, i int) []byte { return fmt.Appendf(nil, "%d/%d", writer, i%killKeys) }
func killLast(writer int) []byte   { return fmt.Appendf(nil, "%d/last", writer) }

// child checks what is there and then writes until it is killed. It prints what is
// acknowledged: the writer and a number.
func child(dir string, acks []string) error {
	host, err := kvback.Open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	// Little memory, so that checkpoints are made all the time.
	s, err := openOn(ctx, host, kvstore.Options{CacheSize: 20_000, RootInterval: time.Millisecond})
	if err != nil {
		return err
	}
	table := s.Table("kill")
	next := make([]int, killWriters)
	for w := range next {
		if next[w], err = check(ctx, table, w); err != nil {
			return err
		}
		if acked, err := strconv.Atoi(acks[w]); err != nil || next[w] <= acked {
			return fmt.Errorf("writer %d: %d was acknowledged, the newest is %d (%v)", w, acked, next[w]-1, err)
		}
	}
	fmt.Println("checked")
	failed := make(chan error)
	for w := range next {
		go func() {
			for i := next[w]; ; i++ {
				value := fmt.Appendf(nil, "%d%s", i, strings.Repeat(".", i%300))
				if err := table.Batch(ctx, []kvstore.Op{{Key: killKey(w, i), Value: value}, {Key: killLast(w), Value: strconv.AppendInt(nil, int64(i), 10)}}); err != nil {
					failed <- err
				}
				// One write, so that it cannot be cut.
				fmt.Println(w, i)
			}
		}()
	}
	return <-failed
}

// check returns the number that a writer is to write next, if all before it is there.
func check(ctx context.Context, table *kvstore.Table, w int) (int, error) {
	b, err := table.Get(ctx, killLast(w))
	if errors.Is(err, kvstore.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	last, err := strconv.Atoi(string(b))
	if err != nil {
		return 0, err
	}
	for i := max(0, last-killKeys+1); i <= last; i++ {
		v, err := table.Get(ctx, killKey(w, i))
		if want := fmt.Sprintf("%d%s", i, strings.Repeat(".", i%300)); err != nil || string(v) != want {
			return 0, fmt.Errorf("writer %d, newest %d: number %d is %.20q, %v", w, last, i, v, err)
		}
	}
	return last + 1, nil
}

// TestKill kills the process that has the store open, enclave and host in one, at any
// moment: nothing that it has acknowledged is lost, and what is there opens. EOS_STRESS=1m
// goes on for so long.
func TestKill(t *testing.T) {
	const lanes, least = 2, 55
	until := time.Now()
	if d := os.Getenv("EOS_STRESS"); d != "" {
		longer, err := time.ParseDuration(d)
		if err != nil {
			t.Fatal(err)
		}
		until = until.Add(longer)
	}
	var all sync.WaitGroup
	for lane := range lanes {
		all.Go(func() {
			dir := t.TempDir()
			rnd := rand.New(rand.NewPCG(uint64(lane), uint64(time.Now().UnixNano())))
			acks := make([]int, killWriters)
			for w := range acks {
				acks[w] = -1
			}
			checked, kills := 0, 0
			for ; kills < least || time.Now().Before(until); kills++ {
				c, err := kill(dir, acks, rnd)
				if err != nil {
					t.Error(err)
					return
				}
				if c {
					checked++
				}
			}
			// The last one is let come up.
			if _, err := kill(dir, acks, nil); err != nil {
				t.Error(err)
			}
			total := 0
			for _, n := range acks {
				total += n + 1
			}
			if total < kills {
				t.Errorf("only %d writes were acknowledged", total)
			}
			t.Logf("%d kills, %d of them after the check, %d writes acknowledged", kills, checked, total)
		})
	}
	all.Wait()
}

// kill runs a child and kills it; without rnd, when it has made its first write. acks is
// brought up to date.
func kill(dir string, acks []int, rnd *rand.Rand) (checked bool, err error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, childEnv+"_ACKS="+strings.Trim(fmt.Sprint(acks), "[]"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	after := 1 // lines, of which the first one says that all was there
	var timer *time.Timer
	switch {
	case rnd == nil:
	case rnd.IntN(4) == 0: // at any time, as while it comes up
		timer = time.AfterFunc(time.Duration(rnd.IntN(60))*time.Millisecond, func() { cmd.Process.Kill() })
		defer timer.Stop()
		after = 1 << 30
	default:
		after = 1 + rnd.IntN(60)
	}
	lines := 0
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		lines++
		line = strings.TrimSpace(line)
		var w, i int
		if n, _ := fmt.Sscanf(line, "%d %d", &w, &i); n == 2 {
			acks[w] = max(acks[w], i)
		} else if line == "checked" {
			checked = true
		} else {
			cmd.Process.Kill()
			cmd.Wait()
			return false, errors.New(line)
		}
		if lines == after+1 {
			cmd.Process.Kill()
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return false, fmt.Errorf("the child ended by itself: %v", err)
	}
	return checked, nil
}
