#!/usr/bin/env bash
# A real Slurm cluster of four nodes on this one machine, for development and tests. Needs root and no systemd:
#
#     apt-get install slurm-wlm munge
#     slurm/dev_cluster.sh up        # daemons, in a few seconds; prints what to export
#     slurm/dev_cluster.sh status    # nodes and jobs
#     slurm/dev_cluster.sh kill n2   # slurmd dies, its steps go on (crash n2: these as well; start n2: it is back)
#     slurm/dev_cluster.sh resume    # nodes that refused a task, which Slurm has drained, are back
#     slurm/dev_cluster.sh down      # ends every job, step and daemon, and removes the folder
#
# All that it writes lies in $DEV_CLUSTER (default /tmp/nasbench-dev-cluster); ports are $DEV_CLUSTER_PORT and the next
# five (default 17000). Jobs of the partition `urgent` pre-empt those of `cpu`, with 30 seconds' notice.
set -euo pipefail

root=${DEV_CLUSTER:-/tmp/nasbench-dev-cluster}
port=${DEV_CLUSTER_PORT:-17000}
nodes=(n1 n2 n3 n4)
export SLURM_CONF=$root/slurm.conf
PATH=$PATH:/usr/sbin:/sbin

fail() { echo "dev_cluster: $*" >&2; exit 1; }

# State and parent of a process.
facts() {
  local all
  all=$(cat "/proc/$1/stat" 2>/dev/null) && all=${all##*) } && echo "${all%% *} $(cut -d' ' -f2 <<<"$all")"
}

# Whether a process runs; a dead one may stay listed until its parent has asked for it.
alive() { [[ $(facts "$1") == [!ZX]* ]]; }

# The process that a pid file names, if it is alive and is what it should be: pids are used again.
pid_of() {
  local pid
  pid=$(cat "$root/run/$1.pid" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${1%%.*}" ] &&
    alive "$pid" && echo "$pid"
}

start() {
  case $1 in
    munged)
      pid_of munged >/dev/null && return
      setpriv --reuid munge --regid munge --clear-groups munged --force --socket "$root/munge/socket" \
        --key-file "$root/munge/key" --pid-file "$root/munge/munged.pid" --log-file "$root/munge/log" \
        --seed-file "$root/munge/seed" 2>>"$root/log/munged"
      for _ in {1..50}; do [ -s "$root/munge/munged.pid" ] && break; sleep 0.1; done
      cp "$root/munge/munged.pid" "$root/run/munged.pid"
      ;;
    slurmctld) pid_of slurmctld >/dev/null || slurmctld ;;
    n[1-4]) pid_of "slurmd.$1" >/dev/null || slurmd -N "$1" ;;
    *) fail "start what? munged, slurmctld, ${nodes[*]}" ;;
  esac
}

# Without notice, as a crash would: the steps of a node go on running, as they do on a real one.
kill_one() {
  case $1 in
    munged | slurmctld) pid=$(pid_of "$1") || return 0 ;;
    n[1-4]) pid=$(pid_of "slurmd.$1") || return 0 ;;
    *) fail "kill what? munged, slurmctld, ${nodes[*]}" ;;
  esac
  kill -9 "$pid"
  while alive "$pid"; do sleep 0.1; done
}

# As when the power goes: the daemon of a node and all that runs there, with no time for a last word.
crash() {
  local pid parent pids=()
  kill_one "$1"
  for pid in $(members); do
    grep -qzxF "SLURMD_NODENAME=$1" "/proc/$pid/environ" 2>/dev/null || continue
    pids+=("$pid")
    parent=$(facts "$pid" | cut -d' ' -f2)
    [ "$(cat "/proc/$parent/comm" 2>/dev/null)" != slurmstepd ] || pids+=("$parent")
  done
  [ ${#pids[@]} = 0 ] && return
  kill -STOP "${pids[@]}" 2>/dev/null || true
  kill -9 "${pids[@]}" 2>/dev/null || true
}

# Every process that a step of this cluster started, or that is one: they carry its configuration in their environment.
members() {
  local file pid
  for file in $(grep -lzxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ 2>/dev/null); do
    pid=${file//[^0-9]/}
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
      slurmctld | slurmd | slurmstepd) echo "$pid" ;;
      *) grep -qz '^SLURM_JOB_ID=' "$file" 2>/dev/null && echo "$pid" ;;
    esac
  done
  return 0
}

resume() {
  local names
  names=$(sinfo --noheader --partition cpu --states drain --format %N | paste -sd,)
  [ -z "$names" ] || scontrol update nodename="$names" state=resume
}

up() {
  [ "$(id -u)" = 0 ] || fail "needs root: slurmd starts jobs as their users"
  for program in munged slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || fail "$program is not installed: apt-get install slurm-wlm munge"
  done
  getent hosts "$(uname -n)" >/dev/null || fail "$(uname -n) has no address: add it to /etc/hosts beside 127.0.0.1"
  [ ! -e "$root" ] || fail "$root is there already: slurm/dev_cluster.sh down removes it"
  mkdir -p "$root"/{run,log,state,spool,munge}
  chmod 755 "$root"
  dd if=/dev/urandom of="$root/munge/key" bs=128 count=1 status=none
  chmod 600 "$root/munge/key"
  chown -R munge:munge "$root/munge"
  local host
  host=$(uname -n | cut -d. -f1)
  cat >"$SLURM_CONF" <<END
ClusterName=dev
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$root/munge/socket,cred_expire=15
CredType=cred/munge
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool/%n
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd.%n.pid
SlurmctldLogFile=$root/log/slurmctld
SlurmdLogFile=$root/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=30
MessageTimeout=60
MinJobAge=300
MaxArraySize=${DEV_CLUSTER_ARRAY:-1001}
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=1
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n[1-4] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 4))] CPUs=1 RealMemory=4000
PartitionName=cpu Nodes=n[1-4] Default=YES PriorityTier=1 GraceTime=30 DefMemPerCPU=2000
PartitionName=urgent Nodes=n[1-4] PriorityTier=10 PreemptMode=OFF DefMemPerCPU=2000
END
  for one in munged slurmctld "${nodes[@]}"; do start "$one"; done
  for _ in {1..100}; do
    [ "$(sinfo --noheader --Node --partition cpu --states idle --format %N 2>/dev/null | wc -l)" = 4 ] && break
    sleep 0.2
  done
  [ "$(sinfo --noheader --Node --partition cpu --states idle --format %N | wc -l)" = 4 ] ||
    fail "the four nodes did not come up: see $root/log"
  echo "export SLURM_CONF=$SLURM_CONF"
}

down() {
  [ -e "$root" ] || return 0
  local pids
  for one in "${nodes[@]}" slurmctld; do kill_one "$one"; done
  for _ in {1..50}; do
    pids=$(members)
    [ -z "$pids" ] && break
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    sleep 0.1
  done
  kill_one munged
  rm -rf "$root"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  status) [ -e "$root" ] || fail "not up"; sinfo --Node --long; squeue --array ;;
  start) start "${2:-}" ;;
  kill) kill_one "${2:-}" ;;
  crash) crash "${2:-}" ;;
  resume) resume ;;
  members) members ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
