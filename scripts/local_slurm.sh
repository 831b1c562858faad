#!/usr/bin/env bash
# A SLURM cluster of this one machine, with two pretended GPUs, to try a sweep at home. As root.
#   eval "$(scripts/local_slurm.sh start DIR)"   start it with all its files in DIR; prints what to export
#   scripts/local_slurm.sh stop DIR              cancel its jobs and stop its daemons; DIR is left
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"  # where the daemons are

usage() { sed -n '2,4s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

export_lines() { printf 'export SLURM_CONF=%q\nexport PATH=%q:"$PATH"\n' "$dir/etc/slurm.conf" "$dir/bin"; }

install_packages() {
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null && return
    if ((EUID)); then
        echo "error: slurm-wlm and munge are not installed: apt-get install slurm-wlm munge" >&2
        exit 1
    fi
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >&2
}

write_files() {
    local host=$1 cpus=$2 memory=$3 index
    mkdir -p "$dir"/{bin,etc,munge,state,spool,log,run,dev}
    chmod 755 "$dir" "$dir/munge"
    if [[ ! -e $dir/munge/munge.key ]]; then
        (umask 077; head -c 1024 /dev/urandom >"$dir/munge/munge.key")
    fi
    for index in 0 1; do # character devices, which SLURM hands out as GPUs without looking into them
        [[ -e $dir/dev/nvidia$index ]] || mknod "$dir/dev/nvidia$index" c 195 "$index"
    done
    echo "NodeName=$host Name=gpu File=$dir/dev/nvidia[0-1]" >"$dir/etc/gres.conf"
    # cred_expire: a requeued job waits for its credential to expire, two minutes by default.
    # CPUs: at least eight, so that several small jobs run side by side on any machine; they are not bound to cores.
    cat >"$dir/etc/slurm.conf" <<CONF
ClusterName=home
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$ctld_port
SlurmdPort=$slurmd_port
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=5,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=30
MinJobAge=3600
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
    cat >"$dir/bin/sacct" <<'SACCT'
#!/usr/bin/env bash
# `sacct -o JobID,State,NodeList --parsable2 -j ID ...` as submitit asks it, answered without an accounting database.
echo 'JobID|State|NodeList'
while (($#)); do
    if [[ $1 == -j ]]; then
        scontrol -o show job "$2" 2>/dev/null | awk '{
            delete f
            for (i = 1; i <= NF; i++) { p = index($i, "="); f[substr($i, 1, p - 1)] = substr($i, p + 1) }
            id = f["JobId"]
            if ("ArrayJobId" in f) { t = f["ArrayTaskId"]; id = f["ArrayJobId"] "_" (t ~ /^[0-9]+$/ ? t : "[" t "]") }
            if (id != "") print id "|" f["JobState"] "|" f["NodeList"]
        }'
        shift
    fi
    shift
done
SACCT
    chmod 755 "$dir/bin/sacct"
}

free_port() { # the first from $1 on that nobody listens to
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 2)); done
    echo "$port"
}

start() {
    install_packages
    if ((EUID)); then
        echo "error: must run as root: SLURM's daemons and the pretended GPUs need it" >&2
        exit 1
    fi
    local host cpus memory
    host=$(hostname -s)
    cpus=$(nproc)
    ((cpus >= 8)) || cpus=8
    memory=$(($(awk '/^MemTotal/ {print $2}' /proc/meminfo) / 1024 * 8 / 10))
    ctld_port=$(free_port 16817)
    slurmd_port=$(free_port $((ctld_port + 1)))
    write_files "$host" "$cpus" "$memory"
    export SLURM_CONF="$dir/etc/slurm.conf"
    # --force: the directories above may be closed to other users, who have no business here anyway.
    munged --force --socket="$dir/munge/munge.sock" --key-file="$dir/munge/munge.key" --seed-file="$dir/munge/munged.seed" \
        --log-file="$dir/munge/munged.log" --pid-file="$dir/munge/munged.pid" >&2
    # Nothing may keep this script's output open: whoever reads it would wait for the daemons' end.
    slurmctld >/dev/null 2>&1
    slurmd -N "$host" >/dev/null 2>&1
    for _ in $(seq 100); do
        if sinfo -h -o %T 2>/dev/null | grep -qE 'idle|mixed'; then
            export_lines
            return
        fi
        sleep 0.1
    done
    echo "error: the node did not come up; see $dir/log" >&2
    stop
    exit 1
}

stop() {
    export SLURM_CONF="$dir/etc/slurm.conf"
    scancel --user="$(id -u)" 2>/dev/null || true
    for _ in $(seq 100); do # let jobs end before the daemons that look after them
        [[ -n $(squeue -h 2>/dev/null) ]] || break
        sleep 0.1
    done
    local file pid
    for file in run/slurmd.pid run/slurmctld.pid munge/munged.pid; do
        pid=$(cat "$dir/$file" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}

[[ $# -eq 2 && ($1 == start || $1 == stop) ]] || usage
dir=$(realpath -m "$2")
"$1"
