package softsgx

// Check is one thing that a platform needs or likes, and whether this machine
// has it.
type Check struct {
	Platform string // "software" or "hardware": whose it is
	Name     string // for example "syscall dispatch"
	Needed   bool   // the platform does not work without it
	OK       bool
	Detail   string // what was found, in words
	Fix      string // what to do about it, empty if OK or if nothing can be done
}

// Names of the platforms in Check.
const (
	forSoftware = "software"
	forHardware = "hardware"
)

// Usable reports whether checks have all that a platform, "software" or
// "hardware", needs. A platform without checks is not usable.
func Usable(checks []Check, platform string) bool {
	any := false
	for _, c := range checks {
		if c.Platform == platform {
			any = true
			if c.Needed && !c.OK {
				return false
			}
		}
	}
	return any
}
