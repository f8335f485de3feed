package edp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestHello is the smallest program: its arguments, freed one by one as the
// Rust runtime does, and a line.
func TestHello(t *testing.T) {
	var out bytes.Buffer
	var got []string
	e := newFake(t, 1, func(f *fakeTCS, args [5]uint64) (uint64, uint64) {
		argv := userMem(args[0], 16*args[1])
		for i := range args[1] {
			p, n := le.Uint64(argv[16*i:]), le.Uint64(argv[16*i+8:])
			if n != 0 {
				got = append(got, string(userMem(p, n)))
				f.want(CallFree, []uint64{p, n, 1}, 0, 0)
			} else {
				got = append(got, "")
			}
		}
		f.want(CallFree, []uint64{args[0], 16 * args[1], 8}, 0, 0)
		f.println("hello")
		f.want(CallFlush, []uint64{FdStdout}, 0, 0)
		f.exit(0)
		return 0, 0
	}, nil)
	if err := runFake(t, e, Options{Stdout: &out, Args: []string{"a", "", "ü b"}}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "hello\n" {
		t.Errorf("stdout is %q", out.String())
	}
	if want := []string{"enclave", "a", "", "ü b"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("arguments are %q, want %q", got, want)
	}
}

// TestEnds has one row for each way in which an enclave can end.
func TestEnds(t *testing.T) {
	status := "Exited with status code 101"
	for _, tt := range []struct {
		name, want string
		main       func(f *fakeTCS)
	}{
		{"panic without text", "Enclave panicked.", func(f *fakeTCS) { f.exit(1) }},
		{"any true value", "Enclave panicked.", func(f *fakeTCS) { f.exit(1 << 40) }},
		{"panic with text", "Enclave panicked: boom", func(f *fakeTCS) { f.panicText(0, "boom"); f.exit(1) }},
		{"text survives usercalls", "Enclave panicked: boom", func(f *fakeTCS) {
			f.panicText(0, "boom")
			f.println("on the way out")
			f.exit(1)
		}},
		{"text without end", "Enclave panicked: " + strings.Repeat("x", 1024), func(f *fakeTCS) {
			f.panicText(0, strings.Repeat("x", 1024))
			f.exit(1)
		}},
		{"no text but bytes", "Enclave panicked: [255, 1, 0, 0", func(f *fakeTCS) { f.panicText(0, "\xff\x01"); f.exit(1) }},
		{"status only", "Enclave panicked: " + status, func(f *fakeTCS) { f.panicText(0, status); f.exit(1) }},
		{"status over an earlier text", "Enclave panicked: panicked at src/main.rs:2:5:\nboom, and then some\n" + status, func(f *fakeTCS) {
			f.panicText(0, "panicked at src/main.rs:2:5:\nboom, and then some")
			f.println("unwinding")
			f.panicText(0, status)
			f.exit(1)
		}},
		{"status over the start at once", "Enclave panicked: ...:\nboom\n" + status, func(f *fakeTCS) {
			f.panicText(0, "panicked at src/main.rs:2:5:\nboom")
			f.panicText(0, status)
			f.exit(1)
		}},
		{"status cuts a character", "Enclave panicked: ...ber\n" + status, func(f *fakeTCS) {
			f.panicText(0, strings.Repeat("x", len(status)-1)+"über")
			f.panicText(0, status)
			f.exit(1)
		}},
		{"main returns", ErrMainReturned.Error(), func(f *fakeTCS) {
			f.leave(fakeExit{exit: exitEEXIT, done: true})
			f.spin()
		}},
		{"unknown number", "The enclave performed an invalid usercall 0x11", func(f *fakeTCS) { f.call(17) }},
		{"user-defined number", "The enclave performed an invalid usercall 0x80000001", func(f *fakeTCS) { f.call(0x80000001) }},
		{"huge number", "The enclave performed an invalid usercall 0xffffffffffffffff", func(f *fakeTCS) { f.call(^Number(0)) }},
		{"waits for nothing", "All enclave threads are waiting indefinitely without possibility of wakeup", func(f *fakeTCS) {
			f.call(CallWait, 0, waitIndefinite)
		}},
		{"exception", "Enclave panicked: Enclave triggered exception: SgxEnclaveRun { function: EResume, exception_vector: 6, exception_error_code: 0, exception_addr: 0x0 }", func(f *fakeTCS) {
			f.fault(6, 0, 0)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := failMain(t, Options{}, tt.main)
			if strings.HasSuffix(tt.want, "0, 0") {
				if !strings.HasPrefix(err.Error(), tt.want) || strings.Count(err.Error(), ",") != debugBufferSize-1 {
					t.Errorf("error is %q", err)
				}
			} else if err.Error() != tt.want {
				t.Errorf("error is %q, want %q", err, tt.want)
			}
		})
	}
}

// TestUnusedArguments: an argument register that a usercall does not use must
// be zero.
func TestUnusedArguments(t *testing.T) {
	for n := CallRead; n <= CallAsyncQueues; n++ {
		for i := calls[n].args; i < 4; i++ {
			t.Run(fmt.Sprintf("%v/%d", n, i+1), func(t *testing.T) {
				err := failMain(t, Options{}, func(f *fakeTCS) {
					var a [4]uint64
					a[i] = 1
					f.call(n, a[:]...)
				})
				wantText(t, err, fmt.Sprintf("The enclave made a bad usercall %v(", n))
				wantText(t, err, fmt.Sprintf("argument %d is unused and must be 0", i+1))
			})
		}
	}
}

// TestContext ends enclaves in whatever they are doing.
func TestContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	for _, tt := range []struct {
		name string
		main func(f *fakeTCS)
	}{
		{"spinning", func(f *fakeTCS) { f.spin() }},
		{"waiting", func(f *fakeTCS) { f.call(CallWait, EvUnpark, 1<<62) }},
		{"sleeping", func(f *fakeTCS) { f.call(CallWait, 0, ^uint64(1)) }},
		{"reading", func(f *fakeTCS) { f.call(CallRead, FdStdin, f.alloc(make([]byte, 9)), 9) }},
		{"writing", func(f *fakeTCS) { p, n := f.text("x"); f.call(CallWrite, FdStdout, p, n) }},
		{"accepting", func(f *fakeTCS) {
			p, n := f.text("127.0.0.1:0")
			_, fd := f.call(CallBindStream, p, n)
			f.call(CallAcceptStream, fd)
		}},
		{"reading a connection", func(f *fakeTCS) {
			p, n := f.text("127.0.0.1:0")
			o := f.alloc(make([]byte, 16))
			f.call(CallBindStream, p, n, o)
			p, n = f.text(f.take(o))
			_, fd := f.call(CallConnectStream, p, n)
			f.call(CallRead, fd, p, n)
		}},
		{"in a usercall of ours", func(f *fakeTCS) { f.call(UserDefined) }},
		{"connecting", func(f *fakeTCS) { p, n := f.text("nowhere"); f.call(CallConnectStream, p, n) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stuck := make(chan struct{})
			defer close(stuck)
			entered := make(chan struct{})
			e := newFake(t, 1, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
				close(entered)
				tt.main(f)
				t.Error("the usercall returned")
				return 0, 0
			}, nil)
			c, err := NewCommand(e.runner, Options{
				Stdin: r, Stdout: writerFunc(func(p []byte) (int, error) { <-stuck; return 0, nil }),
				UserCalls: map[Number]UserCall{UserDefined: func(*UserCallContext) (uint64, uint64, error) { <-stuck; return 0, 0, nil }},
				Connect:   connectIf(stuck),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(context.Background())
			go func() {
				<-entered
				time.Sleep(10 * time.Millisecond) // most likely it is blocked by now; either way it must end
				cancel(errors.New("enough"))
			}()
			if err := c.Run(ctx); err == nil || err.Error() != "the enclave was stopped: enough" {
				t.Errorf("error is %v", err)
			}
			if err := c.Run(ctx); !errors.Is(err, ErrClosed) {
				t.Errorf("running it again: %v", err)
			}
		})
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestStdin: no byte is lost and the end is told, whatever the size and
// however the bytes come.
func TestStdin(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for _, tt := range []struct {
		name string
		in   io.Reader
		want []byte
	}{
		{"nothing", nil, nil},
		{"empty", strings.NewReader(""), nil},
		{"whole", bytes.NewReader(big), big},
		{"one byte at a time", iotest.OneByteReader(bytes.NewReader(big[:5000])), big[:5000]},
		{"data with the end", iotest.DataErrReader(bytes.NewReader(big)), big},
	} {
		for _, alloc := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/alloc=%v", tt.name, alloc), func(t *testing.T) {
				var out bytes.Buffer
				runMain(t, Options{Stdin: tt.in, Stdout: &out}, func(f *fakeTCS) {
					p, bb := f.alloc(make([]byte, 30000)), f.alloc(make([]byte, 16))
					for {
						var n uint64
						if alloc {
							f.wantResult(CallReadAlloc, 0, FdStdin, bb)
							s := f.take(bb)
							n = uint64(copy(userMem(p, 30000), s))
						} else {
							var r uint64
							if r, n = f.call(CallRead, FdStdin, p, 30000); r != 0 {
								t.Errorf("read: %v", Result(r))
								return
							}
						}
						if n == 0 {
							return
						}
						f.want(CallWrite, []uint64{FdStdout, p, n}, 0, n)
					}
				})
				if !bytes.Equal(out.Bytes(), tt.want) {
					t.Errorf("%d bytes came through, want %d", out.Len(), len(tt.want))
				}
				if s, ok := tt.in.(io.Seeker); ok {
					_, _ = s.Seek(0, io.SeekStart)
				}
			})
			if _, ok := tt.in.(io.Seeker); !ok {
				break // used up
			}
		}
	}
}

func TestStreamErrors(t *testing.T) {
	broken := errors.New("disk full")
	o := Options{
		Stdin:  iotest.ErrReader(broken),
		Stdout: writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }),
		Stderr: writerFunc(func(p []byte) (int, error) { return 1, broken }),
	}
	runMain(t, o, func(f *fakeTCS) {
		p, n := f.text("text")
		f.wantResult(CallRead, ResultOther, FdStdin, p, n)
		f.wantResult(CallWrite, ResultBrokenPipe, FdStdout, p, n)
		f.want(CallWrite, []uint64{FdStderr, p, n}, 0, 1)
		f.wantResult(CallWrite, ResultBrokenPipe, FdStdin, p, n)
		f.wantResult(CallFlush, ResultBrokenPipe, FdStdin)
		f.wantResult(CallRead, ResultBrokenPipe, FdStdout, p, n)
		f.wantResult(CallRead, ResultBrokenPipe, 99, p, n)
		f.wantResult(CallWrite, ResultBrokenPipe, ^uint64(0), p, n)
		f.wantResult(CallFlush, ResultBrokenPipe, 99)
		f.wantResult(CallAcceptStream, ResultBrokenPipe, 99)
		f.wantResult(CallAcceptStream, ResultInvalidInput, FdStdin)
		f.wantResult(CallRead, ResultInvalidInput, FdStdin, 0, 1)
		f.wantResult(CallWrite, ResultInvalidInput, FdStdout, 0, 1)
		f.wantResult(CallRead, 0, FdStdin, 0, 0)
		f.wantResult(CallWrite, 0, FdStderr-1, 12345, 0)
		f.wantResult(CallReadAlloc, ResultInvalidInput, FdStdin, 0)
		// A ByteBuffer that is not empty.
		bb := f.alloc(append(le.AppendUint64(nil, p), 4, 0, 0, 0, 0, 0, 0, 0))
		f.wantResult(CallReadAlloc, ResultInvalidInput, FdStdin, bb)
		if n := loadWord(bb + 8); n != 0 {
			t.Errorf("after an error the length is %d, want 0", n)
		}
		f.want(CallClose, []uint64{FdStdout}, 0, 0)
		f.want(CallClose, []uint64{FdStdout}, 0, 0)
		f.want(CallClose, []uint64{77}, 0, 0)
		f.wantResult(CallWrite, ResultBrokenPipe, FdStdout, p, n)
	})
}

func TestUserCalls(t *testing.T) {
	const ours = UserDefined | 7
	o := Options{UserCalls: map[Number]UserCall{
		ours: func(c *UserCallContext) (uint64, uint64, error) {
			b, err := c.Memory(c.Args[0], c.Args[1])
			if err != nil {
				return 0, 0, err
			}
			p, err := c.Alloc(bytes.ToUpper(b))
			return p, uint64(len(b)), err
		},
	}}
	runMain(t, o, func(f *fakeTCS) {
		p, n := f.text("shout")
		p2, n2 := f.call(ours, p, n, 1, 2)
		if s := string(userMem(p2, n2)); s != "SHOUT" {
			t.Errorf("got %q", s)
		}
		f.want(CallFree, []uint64{p2, n2, 1}, 0, 0)
	})
	err := failMain(t, o, func(f *fakeTCS) { f.call(ours, 1, 2, 3, 4) })
	wantText(t, err, "The enclave made a bad usercall usercall 0x80000007(0x1, 0x2, 0x3, 0x4): 2 bytes at 0x1 are not in user memory")
	if _, err := NewCommand(newFake(t, 1, nil, nil).runner, Options{UserCalls: map[Number]UserCall{5: nil}}); err == nil {
		t.Error("a number without the bit is accepted")
	}
}

func TestNoTCS(t *testing.T) {
	_, err := NewCommand(newFake(t, 0, nil, nil).runner, Options{})
	if err == nil {
		t.Fatal("an enclave without threads is accepted")
	}
	wantText(t, err, "no TCS page")
}
