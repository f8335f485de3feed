package edptool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// exitPanic is the exit code of a Rust program that panicked, which is how
// several of the originals report errors.
const exitPanic = 101

// panicked prints an error as a Rust panic is printed, where the original's
// users look for it, and returns the exit code.
func panicked(stderr io.Writer, where, message string) int {
	fmt.Fprintf(stderr, "\nthread 'main' (%d) panicked at %s:\n%s\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
		os.Getpid(), where, message)
	return exitPanic
}

// unwrapped is the message of Result::unwrap on an error.
func unwrapped(err string) string { return "called `Result::unwrap()` on an `Err` value: " + err }

// rustError returns an error of the operating system as Rust's Debug form
// prints it, other errors as they are.
func rustError(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	kind := map[syscall.Errno]string{
		syscall.ENOENT: "NotFound", syscall.EACCES: "PermissionDenied", syscall.EPERM: "PermissionDenied",
		syscall.EISDIR: "IsADirectory", syscall.ENOTDIR: "NotADirectory", syscall.EEXIST: "AlreadyExists",
		syscall.ENOSPC: "StorageFull", syscall.EROFS: "ReadOnlyFilesystem", syscall.EINVAL: "InvalidInput",
	}[no]
	if kind == "" {
		kind = "Uncategorized"
	}
	msg := no.Error()
	return fmt.Sprintf("Os { code: %d, kind: %s, message: %q }", int(no), kind, strings.ToUpper(msg[:1])+msg[1:])
}
