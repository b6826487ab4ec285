import Glibc
import Reactor

// Before any library starts a thread: a signal taken there would end a broker without a clean stop.
Signals.block()
exit(Program.run(Array(CommandLine.arguments.dropFirst())))
