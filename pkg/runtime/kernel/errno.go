package kernel

// Results of system calls: negated Linux error numbers.
const (
	errPerm        = ^uint64(0)
	errNoEnt       = ^uint64(2 - 1)
	errIntr        = ^uint64(4 - 1)
	errIO          = ^uint64(5 - 1)
	errBadF        = ^uint64(9 - 1)
	errAgain       = ^uint64(11 - 1)
	errNoMem       = ^uint64(12 - 1)
	errBusy        = ^uint64(16 - 1)
	errExist       = ^uint64(17 - 1)
	errNotDir      = ^uint64(20 - 1)
	errIsDir       = ^uint64(21 - 1)
	errInval       = ^uint64(22 - 1)
	errMFile       = ^uint64(24 - 1)
	errNotTTY      = ^uint64(25 - 1)
	errFBig        = ^uint64(27 - 1)
	errNoSpc       = ^uint64(28 - 1)
	errSPipe       = ^uint64(29 - 1)
	errROFS        = ^uint64(30 - 1)
	errPipe        = ^uint64(32 - 1)
	errRange       = ^uint64(34 - 1)
	errNameTooLong = ^uint64(36 - 1)
	errNoSys       = ^uint64(38 - 1)
	errNotEmpty    = ^uint64(39 - 1)
	errTimedOut    = ^uint64(110 - 1)
	errSrch        = ^uint64(3 - 1)
)

// failed reports whether a result is an error number.
func failed(r uint64) bool { return r > ^uint64(4095) }
