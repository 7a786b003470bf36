/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the PVH entry (32-bit, no paging, ebx = hvm_start_info) to long mode and on to ring 3, where the rest
 * runs: a KVM without hardware support interprets ring 0 one instruction at a time. So ring 0 is short, takes
 * plain instructions only, and finds its page tables ready-made in the file. Later it is entered only to halt.
 */
#define CODE_32 0x08
#define CODE_64 0x10
#define DATA_0 0x18
#define USER_DATA (0x20 | 3)
#define USER_CODE (0x28 | 3)
#define TASK 0x30
#define STACK_BYTES 16384
#define MAX_CPUS 64

#define CR0_WORKING 0x80000033 /* PG, NE, ET, MP, PE */
#define CR4_WORKING 0x620 /* OSXMMEXCPT, OSFXSR, PAE */
#define CR4_OSXSAVE 0x40000
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define FAULT_VECTOR 13
#define WAKE_VECTOR 0x20
#define HLT 0xf4
#define RING_0_STACK_BYTES 1024
#define TASK_BYTES 104
#define APIC_EOI 0xfee000b0
#define RFLAGS_IOPL_3 0x3002
#define PORTS 0x800

    .section .note.Xen, "a"
    .balign 4
    .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long entry_pvh

    .text
    .code32
    .globl entry_pvh
entry_pvh:
    cli
    cld
    movl %ebx, %esi
    movl $bss_begin, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl %esi, start_info
    lgdtl gdt_pointer
    ljmpl $CODE_32, $enter_long

/* Every CPU: protected mode without paging, flat code segment. */
enter_long:
    movl $DATA_0, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $CR4_WORKING, %eax
    movl %eax, %cr4
    movl $table_level_4, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    xorl %edx, %edx
    movl $EFER_LME, %eax
    wrmsr
    movl $CR0_WORKING, %eax
    movl %eax, %cr0
    ljmpl $CODE_64, $in_long

    .code64
in_long:
    lidt idt_pointer(%rip)
    movl cpu_to_start(%rip), %ebx
    leal 1(%ebx), %esp
    imull $STACK_BYTES, %esp, %esp
    addl $stacks, %esp
    testl %ebx, %ebx
    jnz 1f
    movl start_info(%rip), %edi
    call prepare
    movl $wake, %eax
    movl $gate_wake, %edi
    call set_gate
    movl $fault, %eax
    movl $gate_fault, %edi
    call set_gate
    movl $task, %edx
    jmp 2f
1:
    imull $TASK_BYTES, %ebx, %edx
    addl $tasks, %edx
2:
    call set_task
    cmpl $0, wants_ymm(%rip)
    je 3f
    movl $(CR4_WORKING | CR4_OSXSAVE), %eax
    movq %rax, %cr4
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $7, %eax
    xsetbv
3:
    movl %esp, %eax
    pushq $USER_DATA
    pushq %rax
    pushq $RFLAGS_IOPL_3
    pushq $USER_CODE
    pushq $in_ring_3
    iretq

/* The gate at edi leads to eax. */
set_gate:
    movw %ax, (%rdi)
    shrl $16, %eax
    movw %ax, 6(%rdi)
    ret

/* The task segment at edx for CPU ebx: the stack that faults begin with is the low end of its own. */
set_task:
    imull $STACK_BYTES, %ebx, %eax
    addl $(stacks + RING_0_STACK_BYTES), %eax
    movl %eax, 4(%rdx)
    movl %ebx, %edi
    shll $4, %edi
    addl $(gdt + TASK), %edi
    movl $(TASK_BYTES - 1), %eax
    testl %ebx, %ebx
    jnz 1f
    movl $(task_end - task - 1), %eax
1:
    movw %ax, (%rdi)
    movl %edx, %eax
    movw %ax, 2(%rdi)
    shrl $16, %eax
    movb %al, 4(%rdi)
    movb $0x89, 5(%rdi) /* available: loading makes it busy */
    movl %ebx, %eax
    shll $4, %eax
    addl $TASK, %eax
    ltr %ax
    ret

/* void cpu_halt(void); until an interrupt. Ring 3 may not: the fault is how it asks ring 0 to. */
    .globl cpu_halt
cpu_halt:
    hlt
    ret

fault:
    pushq %rax
    movq 16(%rsp), %rax
    cmpb $HLT, (%rax)
    popq %rax
    jne 1f
    addq $8, %rsp
    sti
    hlt
    cli
    addq $1, (%rsp)
    iretq
1:
    ud2

wake:
    pushq %rax
    movl $APIC_EOI, %eax
    movl $0, (%rax)
    popq %rax
    iretq

in_ring_3:
    movl $USER_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %ebx, %edi
    xorl %ebp, %ebp
    call cpu_main
    ud2

/* cpus_start() copies this to 0x8000, where the other CPUs begin in real mode with cs = 0x800. */
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt - trampoline
    movl $0x11, %eax /* ET, PE */
    movl %eax, %cr0
    ljmpl $CODE_32, $enter_long
trampoline_gdt:
    .word gdt_end - gdt - 1
    .long gdt
trampoline_end:

    .code64
/* void vectors_load(const uint8_t (*values)[32], bool ymm); vectors_store() likewise. */

    .globl vectors_load, vectors_store
vectors_load:
    testl %esi, %esi
    jnz 1f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqu (\n * 32)(%rdi), %xmm\n
    .endr
    ret
1:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu (\n * 32)(%rdi), %ymm\n
    .endr
    ret

vectors_store:
    testl %esi, %esi
    jnz 1f
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movdqu %xmm\n, (\n * 32)(%rdi)
    .endr
    ret
1:
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu %ymm\n, (\n * 32)(%rdi)
    .endr
    ret

    .section .data.tables, "aw"
    .balign 4096
/* Present, writable, for ring 3, accessed, and dirty where that is a large page: nobody need write them. */
table_level_4:
    .quad table_level_3 + 0x27
    .fill 511, 8, 0
table_level_3:
    .set table, 0
    .rept 8
    .quad table_level_2 + table * 4096 + 0x27
    .set table, table + 1
    .endr
    .fill 504, 8, 0
table_level_2:
    .set page, 0
    .rept 4096
    .quad page * 0x200000 + 0xe7
    .set page, page + 1
    .endr

    .data
    .balign 16
/* Accessed from the start, so that loading a segment writes nothing. */
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cff3000000ffff
    .quad 0x00affb000000ffff
    .fill MAX_CPUS * 2, 8, 0 /* a task segment for each CPU: set_task */
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
/*
 * The task segment of CPU 0, who alone uses ports, allows all of the first ones: where KVM runs ring 3 on bare
 * hardware, the IOPL does not count.
 */
    .balign 16
task:
    .fill 102, 1, 0
    .word task_ports - task
task_ports:
    .fill PORTS / 8, 1, 0
    .byte 0xff
task_end:
/* Two gates: whatever else goes wrong ends in a triple fault. */
idt:
    .fill FAULT_VECTOR * 2, 8, 0
gate_fault:
    .word 0, CODE_64, 0x8e00, 0 /* the rest where it is loaded */
    .quad 0
    .fill (WAKE_VECTOR - FAULT_VECTOR - 1) * 2, 8, 0
gate_wake:
    .word 0, CODE_64, 0x8e00, 0
    .quad 0
idt_end:
idt_pointer:
    .word idt_end - idt - 1
    .quad idt

    .bss
    .balign 16
tasks:
    .fill MAX_CPUS * TASK_BYTES, 1, 0

    .section .note.GNU-stack, "", @progbits
