// Package loop is what a loop waits with: so far its timers.
//
// # Timers
//
// A deadline is a [Timer], which belongs to what has it: the wait that ends, the connection that is given a moment, the file that is
// written again. It is a value in its owner and is set, set again and stopped there, and nowhere else is anything known of it. All
// that are set form one heap ([Timers]), so to set or stop one costs a handful of comparisons however many there are, allocates
// nothing, and costs nothing at all if it is what it was. The loop asks only when the first is due.
//
// Timers go off in the order of their times, and those of one moment in the order in which they were set; never before their time,
// and as late as the loop is. A turn of the loop gives them a share of its time ([Timers.Run]): what is due beyond that is due in
// the next turn, before anything that becomes due meanwhile. At least one goes off in each, so none waits for ever. One that has more to
// do than a turn should take does some of it and sets itself again; it then stands behind the others that are due. So nobody can
// hold up the connections, and no timer the others.
package loop
